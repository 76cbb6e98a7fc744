// The page: a list of classes by category, and the form of one of them.

const classes = JSON.parse(document.getElementById("catalogue").textContent).$defs;

function make(tag, facts = {}, ...children) {
  const node = Object.assign(document.createElement(tag), facts);
  node.append(...children);
  return node;
}

/** Plain text with `code` in it. */
function prose(tag, text, className = "") {
  const parts = text.split(/`([^`]+)`/).map((part, i) => (i % 2 ? make("code", {textContent: part}) : part));
  return make(tag, {className}, ...parts);
}

/** Paragraphs of a docstring: lines are joined, but for those that are indented or begin with "name: ". */
function paragraphs(text) {
  return text.split(/\n\s*\n/).filter((one) => one.trim()).map((one) => prose("p", one.replace(/\n(?!\s|\W{0,3}\w+`?: )/g, " ")));
}

function showList() {
  const words = document.getElementById("search").value.toLowerCase().split(/\s+/), groups = {};
  for (const [name, one] of Object.entries(classes)) {
    const text = JSON.stringify([name, one.description, one.properties]).toLowerCase();
    if (words.every((word) => text.includes(word))) (groups[one["x-category"]] ??= []).push(name);
  }
  const here = decodeURIComponent(location.hash.slice(1)), list = document.getElementById("list");
  list.replaceChildren(...Object.keys(groups).sort().flatMap((group) => [
    make("h2", {textContent: group}),
    ...groups[group].map((name) => make("a", {
      href: `#${name}`, textContent: name, title: classes[name]["x-summary"], className: name === here ? "here" : "",
    })),
  ]));
  list.querySelector(".here")?.scrollIntoView({block: "nearest"});
  if (!list.firstChild) list.append(make("h2", {textContent: "no class has these words"}));
}

/** The way in which a value is typed: by its schema. */
function control(one, id, changed) {
  const start = "default" in one ? one.default : undefined, hint = one.examples?.[0];
  const choices = one.enum ?? one.anyOf?.find((part) => part.enum && !part.format && one.anyOf.length === 2
    && one.anyOf.some((other) => other.type === "null"))?.enum;
  let input;
  if (one.type === "boolean") {
    input = make("input", {type: "checkbox", checked: start === true});
    input.text = () => (input.checked === (start === true) ? "" : input.checked ? "True" : "False");
  } else if (choices) {
    const blank = start === undefined ? "choose" : `${python(start)} (default)`;
    input = make("select", {}, make("option", {value: "", textContent: blank}),
      ...choices.filter((c) => c !== start).map((c) => make("option", {value: python(c), textContent: String(c ?? "None")})));
  } else {
    const shown = one["x-takes"] && start === undefined ? "ns.name" : start === undefined ? (hint === undefined ? "" : `such as ${python(hint)}`) : typeof start === "string" &&
      /^Meq\./.test(start) ? start : Array.isArray(start) && !start.length ? "" : python(start);
    input = make("input", {type: "text", placeholder: shown, spellcheck: false, autocomplete: "off"});
    if (one.type === "number" || one.type === "integer") input.inputMode = "decimal";
  }
  input.text ??= () => input.value;
  input.id = id;
  input.addEventListener("input", changed);
  return input;
}

function field(name, one, needed, inputs, changed) {
  const input = (inputs[name] = control(one, `field-${name}`, changed)), fault = make("div", {className: "fault"});
  input.fault = fault;
  const many = one.type === "array" && one["x-takes"], facts = [one.description];
  if (one["x-dims"]) facts.push(`of shape (${one["x-dims"].join(", ")}${one["x-dims"].length === 1 ? "," : ""})`);
  if (many) facts.push(`${one.minItems ? `${one.minItems} or more` : "any number"}, with commas; *ns.name for all of a name`);
  if (one["x-words"] && !one.enum && one.type !== "boolean" && !/^(anything|a (text|path|(whole )?number)(, or None)?)$/.test(one["x-words"])) facts.push(one["x-words"]);
  const unit = one["x-unit"] ? [make("small", {textContent: one["x-unit"]})] : [];
  return make("div", {className: "field"},
    make("label", {htmlFor: input.id}, name, ...(needed ? [make("i", {textContent: " *", title: "needed"})] : [])),
    make("div", {className: "unit"}, input, ...unit), prose("small", facts.filter(Boolean).join("; ")), fault);
}

function showClass() {
  const name = decodeURIComponent(location.hash.slice(1)), one = classes[name], main = document.getElementById("main");
  showList();
  if (!one) {
    main.replaceChildren(make("h2", {textContent: "Node classes"}), prose("p", "Choose a class on the left. Its form makes the line "
      + "of Python that defines a node, `ns.name << Meq.Class(children, options)`, and checks what it can before a run does."));
    return;
  }
  const inputs = {}, groups = {}, {children, options} = one.properties;
  const output = make("output"), copy = make("button", {textContent: "Copy", type: "button"}), bar = make("div", {className: "line"}, output, copy);
  const changed = () => {
    const typed = (group) => Object.fromEntries(Object.keys(group.properties).map((key) => [key, inputs[key].text()]));
    const {line, faults} = define(one, {name: inputs[""].text(), children: typed(children), options: typed(options)});
    for (const [key, input] of Object.entries(inputs)) {
      const shown = faults[key] && !(faults[key].startsWith("is needed") && !input.text());
      input.fault.textContent = shown ? faults[key] : "";
      input.setAttribute("aria-invalid", String(Boolean(shown)));
    }
    output.textContent = line;
    copy.disabled = Object.keys(faults).length > 0;
    bar.classList.toggle("wrong", copy.disabled);
    bar.title = Object.entries(faults).map(([key, why]) => `${key} ${why}`).join("\n");
  };
  copy.addEventListener("click", async () => {
    getSelection().selectAllChildren(output);
    try {
      await navigator.clipboard.writeText(output.textContent);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Ctrl-C"; // no clipboard for pages from files: the line is selected
    }
    setTimeout(() => (copy.textContent = "Copy"), 1200);
  });
  const set = (title, group) => make("fieldset", {}, make("legend", {textContent: title}), ...Object.entries(group.properties)
    .map(([key, part]) => field(key, part, group.required.includes(key), inputs, changed)));
  groups[""] = make("fieldset", {}, make("legend", {textContent: "node"}),
    field("", {type: "string", description: "its name, as ns.gain or ns.gain(p); empty: none, inside another definition"}, false, inputs, changed));
  groups[""].querySelector("label").textContent = "name";
  inputs[""].value = `ns.${name.replace(/^[A-Z]+(?![a-z])|^[A-Z]/, (start) => start.toLowerCase())}`;
  main.replaceChildren(make("h2", {textContent: name}), make("p", {className: "meta", textContent: `${one["x-role"]} · ${one["x-module"]}`}),
    make("div", {className: "doc"}, ...paragraphs(one.description)), groups[""],
    ...(Object.keys(children.properties).length ? [set("children", children)] : []), set("options: empty for the default, =p for a variable p", options), bar);
  main.querySelector(".doc p")?.classList.add("lead");
  main.scrollTop = 0;
  changed();
}

const count = Object.keys(classes).length;
document.getElementById("count").textContent = `· ${count} node ${count === 1 ? "class" : "classes"}`;
document.getElementById("search").addEventListener("input", showList);
window.addEventListener("hashchange", showClass);
showClass();
