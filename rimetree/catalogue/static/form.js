"use strict";
// A form in, a line of Python out. All that is known of a node class is its JSON Schema (catalogue/schema.py).

const FLOAT = /^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$/;

/** The Python of a JSON value, where the schema says nothing special. */
function python(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  return Array.isArray(value) ? `[${value.map(python).join(", ")}]` : JSON.stringify(value);
}

/** Parts between the commas that are outside of brackets and quotes. */
function split(text) {
  const parts = [""];
  let depth = 0, quote = "";
  for (const c of text) {
    if (quote) quote = c === quote ? "" : quote;
    else if (c === '"' || c === "'") quote = c;
    else depth += "([{".includes(c) - ")]}".includes(c);
    if (c === "," && !depth && !quote) parts.push("");
    else parts[parts.length - 1] += c;
  }
  const found = parts.map((part) => part.trim());
  if (found[found.length - 1] === "") found.pop();
  return found;
}

function limits(value, schema) {
  return value >= (schema.minimum ?? -Infinity) && value <= (schema.maximum ?? Infinity)
    && value > (schema.exclusiveMinimum ?? -Infinity);
}

/** The Python of what was typed, or null where the schema does not accept it. `defs` are the definitions it refers to. */
function read(text, schema, defs) {
  text = text.trim();
  if (schema.$ref) return read(text, defs[schema.$ref.split("/").pop()], defs);
  if (schema.anyOf) {
    for (const one of schema.anyOf) {
      const found = read(text, one, defs);
      if (found !== null) return found;
    }
    return null;
  }
  const quoted = /^(["']).*\1$/s.test(text) ? text.slice(1, -1) : text;
  if (schema.enum) {
    const found = schema.enum.find((one) => python(one) === text || one === text || one === quoted);
    return found === undefined ? null : schema.format === "python" ? found : python(found);
  }
  switch (schema.type) {
    case "null": return text === "None" ? text : null;
    case "boolean": return text === "True" || text === "False" ? text : null;
    case "integer": case "number": {
      const whole = /^[-+]?[0-9]+$/.test(text);
      if (!(whole || (schema.type === "number" && FLOAT.test(text))) || !limits(Number(text), schema)) return null;
      return whole ? text.replace(/^([-+]?)0+(?=[0-9])/, "$1") : text;
    }
    case "string": {
      const value = schema.format === "python" ? text : quoted;
      if (!new RegExp(schema.pattern ?? "").test(value)) return null;
      return schema.format === "python" ? value : JSON.stringify(value);
    }
    case "array": return list(text, schema, defs);
  }
  return null;
}

function list(text, schema, defs) {
  const outer = split(text), bracketed = outer.length === 1 && /^\(.*\)$|^\[.*\]$/s.test(text);
  if (!bracketed && outer.length < 2) return null;
  const parts = bracketed ? split(text.slice(1, -1)) : outer;
  if (parts.length < (schema.minItems ?? 0) || parts.length > (schema.maxItems ?? Infinity)) return null;
  const found = parts.map((part, i) => read(part, schema.prefixItems?.[i] ?? schema.items, defs));
  if (found.includes(null) || (schema.uniqueItems && new Set(found).size < found.length)) return null;
  return text[0] === "[" || found.length === 1 ? `[${found.join(", ")}]` : `(${found.join(", ")})`;
}

/**
 * The line that defines a node, and what is wrong by field. `form` has a name and, by child and option, what was typed; what is
 * empty was left out. After "=", an option is a Python expression, such as the variable of a loop.
 */
function define(schema, form) {
  const {children, options} = schema.properties, defs = schema.$defs ?? {}, faults = {}, args = [], later = [];
  const typed = (group, name) => (form[group]?.[name] ?? "").trim();
  const names = Object.keys(children.properties), many = names.find((name) => children.properties[name].type === "array");
  let skipped = false;
  for (const name of names) {
    const one = children.properties[name], text = typed("children", name), needed = children.required.includes(name);
    const parts = one.type === "array" ? split(text) : text ? [text] : [];
    const found = parts.map((part) => read(part.replace(/^\*/, ""), one.items ?? one, defs) && part);
    if (needed && !parts.length) faults[name] = "is needed";
    else if (found.includes(null)) faults[name] = "must be nodes, as ns.name, or numbers";
    else if (parts.length < (one.minItems ?? 0) && !parts.some((p) => p[0] === "*")) faults[name] = `at least ${one.minItems}`;
    else if (one.type === "array") args.push(...found);
    else if (found.length && (skipped || !needed && one.default === undefined)) later.push(`${name}=${found[0]}`);
    else if (found.length) args.push(found[0]);
    else if (one.default !== undefined && many && typed("children", many)) args.push(String(one.default));
    else skipped = true;
  }
  for (const [name, one] of Object.entries(options.properties)) {
    const text = typed("options", name);
    const found = text[0] === "=" ? text.slice(1).trim() || null : text === "" ? "" : read(text, one, defs);
    if (found === null) faults[name] = `must be ${one["x-words"]}`;
    else if (found) later.push(`${name}=${found}`);
    else if (options.required.includes(name)) faults[name] = `is needed: ${one["x-words"]}`;
  }
  const call = `Meq.${schema.title}(${[...args, ...later].join(", ")})`, name = (form.name ?? "").trim();
  return {line: name ? `${name} << ${call}` : call, faults};
}
