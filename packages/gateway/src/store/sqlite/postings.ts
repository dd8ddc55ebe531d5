/**
 * Which entries belong to what: for each workspace, type, run, session and agent the sequence numbers of its entries, in
 * blocks. A block is written once per fold, so a burst of entries costs one row and not one index entry each.
 */
export type PostingKind = 'all' | 'type' | 'run' | 'session' | 'agent';

/** Ascending sequence numbers as their first and the gaps between them. */
export function encodeGaps(seqs: readonly number[]): string {
  let text = '';
  let before = seqs[0] ?? 0;
  for (let index = 1; index < seqs.length; index += 1) {
    const seq = seqs[index] ?? 0;
    text += index === 1 ? seq - before : `,${seq - before}`;
    before = seq;
  }
  return text;
}

export function decodeGaps(firstSeq: number, gaps: string): number[] {
  const seqs = [firstSeq];
  if (gaps === '') return seqs;
  let seq = firstSeq;
  for (const gap of gaps.split(',')) {
    seq += Number(gap);
    seqs.push(seq);
  }
  return seqs;
}
