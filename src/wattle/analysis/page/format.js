// Numbers, dates and elements. Text always enters the page as text, never as markup.

const MONTHS = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
];
const WEEKDAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const formats = new Map();

/** Return a number with grouped thousands, a true minus sign and so many decimals. */
export function number(value, digits = 0) {
  if (!formats.has(digits)) {
    formats.set(
      digits,
      new Intl.NumberFormat("en-GB", { minimumFractionDigits: digits, maximumFractionDigits: digits }),
    );
  }
  const text = formats.get(digits).format(value);
  return (/[1-9]/.test(text) ? text : text.replace("-", "")).replace("-", "−");
}

/** Return an amount of currency; `sign` is the symbol, `plus` marks amounts above nothing. */
export function money(value, sign, digits = 2, plus = false) {
  const text = number(Math.abs(value), digits);
  const nothing = !/[1-9]/.test(text);
  return (nothing ? "" : value < 0 ? "−" : plus ? "+" : "") + sign + text;
}

/** Return a number for a list of inputs: enough digits to check it, none too many. */
export function plain(value) {
  if (Number.isInteger(value)) return number(value);
  const size = Math.abs(value);
  return number(value, size >= 1000 ? 1 : size >= 10 ? 2 : size >= 0.1 ? 4 : 6);
}

/** Return energy in kWh or MWh. */
export function energy(kwh) {
  const size = Math.abs(kwh);
  if (size >= 10000) return `${number(kwh / 1000, 1)} MWh`;
  return `${number(kwh, size >= 100 ? 0 : size >= 10 ? 1 : 2)} kWh`;
}

/** Return "Tuesday, 21 June 2016" for "2016-06-21". */
export function longDate(iso) {
  const [year, month, day] = iso.split("-").map(Number);
  return `${WEEKDAYS[new Date(Date.UTC(year, month - 1, day)).getUTCDay()]}, ${day} ${MONTHS[month - 1]} ${year}`;
}

/** Return "Jun" for 5. */
export const shortMonth = (index) => MONTHS[index].slice(0, 3);

/** Return the clock time of a second of the day. */
export function clock(second) {
  const minutes = Math.floor((((second % 86400) + 86400) % 86400) / 60);
  return `${String(Math.floor(minutes / 60)).padStart(2, "0")}:${String(minutes % 60).padStart(2, "0")}`;
}

/** Make an element; `set` holds attributes, `on…` functions and `text`. */
export function el(tag, set = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(set)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "text") made.textContent = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Return the element with this id. */
export const byId = (id) => document.getElementById(id);

/** Exchange what is inside an element. */
export function fill(id, ...children) {
  byId(id).replaceChildren(...children);
}

/** Fill a legend: pairs of a class that colours the mark and a text. */
export function legend(id, pairs) {
  fill(id, ...pairs.map(([name, text]) => el("li", {}, el("i", { class: `mark ${name}` }), text)));
}
