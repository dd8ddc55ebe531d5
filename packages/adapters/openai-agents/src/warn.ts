const warned = new Set<string>();

/** Says something that holds for every run only once. */
export function warnOnce(text: string): void {
  if (warned.has(text)) return;
  warned.add(text);
  process.emitWarning(text, 'RunpurseWarning');
}
