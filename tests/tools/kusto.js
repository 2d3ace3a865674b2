// Reads {tables: {name: "(column: type, …)"}, queries: {name: text}} and writes, for each query, what Microsoft's own
// language service says of it, and the columns that it gives.
"use strict";
const { readFileSync } = require("node:fs");
const { createRequire } = require("node:module");

const load = createRequire(process.argv[2]);
load("@kusto/language-service-next/bridge.min.js");
load("@kusto/language-service-next/Kusto.Language.Bridge.min.js");
const { GlobalState, KustoCode, Symbols } = globalThis.Kusto.Language;

const all = (list) => Array.from({ length: list.Count }, (_, index) => list.getItem(index));

function judge(text, globals) {
  const code = KustoCode.ParseAndAnalyze(text, globals);
  const said = all(code.GetDiagnostics()).map(
    (found) => `${found.Severity}: ${found.Message} (at: ${text.slice(found.Start, found.Start + found.Length)})`,
  );
  const columns = code.ResultType?.Columns ? all(code.ResultType.Columns) : [];
  return { said, columns: Object.fromEntries(columns.map((column) => [column.Name, column.Type.Name])) };
}

const { tables, queries } = JSON.parse(readFileSync(0, "utf8"));
// $ctor7 is the constructor that takes a name, a schema and a description.
const symbols = Object.entries(tables).map(([name, schema]) => new Symbols.TableSymbol.$ctor7(name, schema, null));
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.ctor("workspace", symbols));
const judged = Object.entries(queries).map(([name, text]) => [name, judge(text, globals)]);
process.stdout.write(JSON.stringify(Object.fromEntries(judged)));
