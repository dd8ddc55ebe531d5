/** Where a command writes; tests read it. */
export interface Output {
  line(text?: string): void;
  json(value: unknown): void;
}

export function terminalOutput(stream: NodeJS.WritableStream = process.stdout): Output {
  return {
    line: (text = '') => void stream.write(`${text}\n`),
    json: (value) => void stream.write(`${JSON.stringify(value)}\n`),
  };
}

/** Rows in aligned columns; the first row is the head. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
