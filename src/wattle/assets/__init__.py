"""Physics of fleets: arrays over members. Pure."""
