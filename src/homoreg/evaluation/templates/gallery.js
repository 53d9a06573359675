// What is shown follows the address after "#", so that every view can be linked to:
// #pair-000001&sort=kappa&dir=desc&descriptor=rootsift&estimator=dlt&status=failed&all=1
const byName = new Map(gallery.columns.map((column, index) => [column.name, { ...column, index }]))
const value = (row, name) => row[byName.get(name).index]
const failed = row => value(row, "status") !== "ok"
const find = id => document.getElementById(id)
const form = find("controls"), viewer = find("viewer")
// A table of thousands takes seconds to lay out: the rest is shown on demand.
const FIRST_ROWS = 500
// What a descriptor's card says of its matches, and of each estimate.
const OF_MATCHES = ["match_count", "precision_3px", "recall_3px"]
const OF_ESTIMATE = ["corner_error_px", "corner_error_rms_px", "predicted_corner_error_px", "kappa", "fit_gap", "inliers",
  "rmse_gray", "ssim"]
const present = names => names.filter(name => byName.has(name)).map(name => byName.get(name))

function readAddress() {
  const state = { pair: "", sort: "corner_error_px", dir: "desc", descriptor: "", estimator: "", status: "", all: "", rows: "" }
  for (const part of location.hash.slice(1).split("&")) {
    if (part.startsWith("pair-")) state.pair = decodeURIComponent(part.slice(5))
    else if (part.includes("=")) {
      const [key, text] = part.split("=")
      if (key in state) state[key] = decodeURIComponent(text)
    }
  }
  if (!byName.has(state.sort)) state.sort = "corner_error_px"
  return state
}

function address(changes) {
  const { pair, ...rest } = { ...readAddress(), ...changes }
  const parts = Object.entries(rest).filter(([, text]) => text).map(([key, text]) => `${key}=${encodeURIComponent(text)}`)
  return "#" + [...(pair ? ["pair-" + encodeURIComponent(pair)] : []), ...parts].join("&")
}

// location.replace keeps sorting and filtering out of the browser's history.
const go = changes => location.replace(address(changes))

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(...children)
  return made
}

function shown(cell, { numeric, decimals }) {
  if (cell === null || cell === "") return "–"
  if (!numeric) return String(cell).replaceAll("_", " ")
  if (!Number.isFinite(cell)) return cell > 0 ? "∞" : "−∞"
  if (Math.abs(cell) < 1e6) return cell.toFixed(decimals).replace("-", "−")
  const [mantissa, power] = cell.toExponential(1).split("e+")
  return `${mantissa}·10${[...power].map(digit => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("")}`.replace("-", "−")
}

// Ids and names are shown as they are: only a status has underscores in place of blanks.
const text = (row, column) => column.name === "status" || column.numeric ? shown(row[column.index], column) : row[column.index] || "–"

// ---- the table ----

let order = gallery.rows.slice() // sorted in place, so that ties keep the order before

function compare(column, sign) {
  const missing = cell => cell === null || cell === ""
  return (one, other) => {
    const a = one[column.index], b = other[column.index]
    if (missing(a) || missing(b)) return missing(a) - missing(b) // last in both directions
    if (column.numeric) return a === b ? 0 : sign * (a < b ? -1 : 1)
    return sign * a.localeCompare(b, "en", { numeric: true })
  }
}

function tableRow(row, columns, state) {
  const line = element("tr", { className: failed(row) ? "failed" : "" })
  for (const column of columns) {
    const cell = element("td", { className: column.numeric ? "" : `text ${column.name}` })
    if (column.name === "pair_id") {
      const pair = value(row, "pair_id")
      cell.append(element("a", { href: address({ ...state, pair }), textContent: pair }))
      if (gallery.pictures[pair]) cell.append(element("span", { className: "pictured", title: "has pictures" }))
    } else cell.textContent = text(row, column)
    line.append(cell)
  }
  line.dataset.pair = value(row, "pair_id")
  return line
}

function kept(row, state) {
  return (!state.descriptor || value(row, "descriptor") === state.descriptor)
    && (!state.estimator || value(row, "estimator") === state.estimator)
    && (!state.status || (state.status === "failed" ? failed(row) : value(row, "status") === state.status))
}

function showTable(state) {
  order.sort(compare(byName.get(state.sort), state.dir === "asc" ? 1 : -1))
  const columns = [...byName.values()].filter(column => column.main || state.all)
  const rows = order.filter(row => kept(row, state))
  const headings = columns.map(column => {
    const sorted = column.name === state.sort
    const downFirst = column.numeric ? "desc" : "asc"
    const dir = sorted ? (state.dir === "asc" ? "desc" : "asc") : downFirst
    const heading = element("th", { scope: "col", className: column.numeric ? "" : "text" },
      element("button", { type: "button", textContent: column.heading, title: column.help, onclick: () => go({ sort: column.name, dir }) }))
    heading.dataset.column = column.name
    if (sorted) heading.ariaSort = state.dir === "asc" ? "ascending" : "descending"
    return heading
  })
  const table = find("rows"), focused = document.activeElement.closest?.("th")?.dataset.column
  table.tHead.rows[0].replaceChildren(...headings)
  if (focused) table.querySelector(`th[data-column="${focused}"] button`)?.focus()
  table.tBodies[0].replaceChildren(...rows.slice(0, state.rows ? Infinity : FIRST_ROWS).map(row => tableRow(row, columns, state)))
  const others = state.rows ? 0 : Math.max(0, rows.length - FIRST_ROWS)
  find("more").hidden = !others
  find("more").textContent = `show the other ${others} rows`
  find("count").textContent = rows.length === order.length ? `${rows.length} rows` : `${rows.length} of ${order.length} rows`
  for (const field of form.elements) {
    if (field.type === "checkbox") field.checked = Boolean(state.all)
    else if (field.name) field.value = state[field.name]
  }
}

// ---- one pair ----

function card(descriptor, rows, file) {
  const columns = present(OF_ESTIMATE)
  const matches = present(OF_MATCHES).map(column => `${column.heading} ${text(rows[0], column)}`).join(", ")
  const names = element("tr", {}, element("th", { className: "text", textContent: "estimator" }),
    ...columns.map(column => element("th", { textContent: column.heading, title: column.help })))
  const numbers = rows.map(row => element("tr", { className: failed(row) ? "failed" : "" },
    element("td", { className: "text status", textContent: value(row, "estimator") + (failed(row) ? `: ${text(row, byName.get("status"))}` : "") }),
    ...columns.map(column => element("td", { textContent: text(row, column) }))))
  const made = element("figure", {}, element("figcaption", {}, element("b", { textContent: descriptor }), matches),
    element("div", { className: "fit" }, element("table", {}, element("thead", {}, names), element("tbody", {}, ...numbers))))
  if (file) {
    const picture = element("img", { src: file, alt: `matches and estimates of ${descriptor}` })
    made.append(element("a", { href: file, target: "_blank", title: "the picture alone" }, picture))
  }
  return made
}

function showPair(state) {
  const rows = gallery.rows.filter(row => value(row, "pair_id") === state.pair)
  if (!rows.length) return viewer.close()
  const pairs = [...new Set(order.filter(row => kept(row, state)).map(row => value(row, "pair_id")))]
  const at = pairs.indexOf(state.pair), files = gallery.pictures[state.pair]
  find("viewer-title").textContent = `Pair ${state.pair}`
  find("place").textContent = at < 0 ? "" : `${at + 1} of ${pairs.length} in the table's order`
  find("how").hidden = !files
  find("missing").hidden = Boolean(files)
  find("missing").querySelector("code").textContent = `${gallery.command} pair=${state.pair}`
  for (const [id, pair] of [["previous", pairs[at - 1]], ["next", at < 0 ? pairs[0] : pairs[at + 1]]]) {
    find(id).disabled = !pair
    find(id).onclick = () => pair && go({ pair })
  }
  const rank = row => gallery.estimators.indexOf(value(row, "estimator"))
  find("cards").replaceChildren(...gallery.descriptors.flatMap(descriptor => {
    const own = rows.filter(row => value(row, "descriptor") === descriptor).sort((a, b) => rank(a) - rank(b))
    return own.length ? [card(descriptor, own, files?.[descriptor])] : []
  }))
  if (!viewer.open) viewer.showModal()
  viewer.scrollTop = 0
}

// ---- wiring ----

let last = ""
function show() {
  const state = readAddress(), { pair, ...ofTable } = state
  // Opening a pair leaves the table as it is.
  if (JSON.stringify(ofTable) !== last) showTable(state)
  last = JSON.stringify(ofTable)
  if (pair) showPair(state)
  else if (viewer.open) viewer.close()
}

const statuses = [...new Set(gallery.rows.map(row => value(row, "status")))].sort()
const choices = { descriptor: gallery.descriptors, estimator: gallery.estimators, status: ["failed", ...statuses] }
for (const [name, options] of Object.entries(choices)) {
  form.elements[name].append(...options.map(option => element("option", { value: option, textContent: option.replaceAll("_", " ") })))
}
form.onsubmit = event => event.preventDefault()
form.onchange = ({ target }) => go({ [target.name]: target.type === "checkbox" ? (target.checked ? "1" : "") : target.value })
find("rows").tBodies[0].onclick = event => {
  const pair = event.target.closest("tr")?.dataset.pair
  // A link does it by itself; pushed on the history, so that Back returns to the table.
  if (pair && !event.target.closest("a")) location.hash = address({ pair })
}
find("more").onclick = () => go({ rows: "all" })
const leave = () => go({ pair: "" })
find("close").onclick = leave
viewer.onclick = event => { if (event.target === viewer) leave() } // the page around the dialog
// Esc. The event comes late: another pair may have been opened since.
viewer.onclose = () => { if (!viewer.open && readAddress().pair) leave() }
viewer.onkeydown = event => {
  if (event.key === "ArrowLeft") find("previous").click()
  if (event.key === "ArrowRight") find("next").click()
}
addEventListener("hashchange", show)
show()
