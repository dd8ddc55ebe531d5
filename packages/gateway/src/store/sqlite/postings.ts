/**
 * Which entries belong to what: for each workspace, type, run, session and agent the sequence numbers of its entries, in
 * blocks. A block is written once per fold, so a burst of entries costs one row and not one index entry each.
 */
export type PostingKind = 'all' | 'type' | 'run' | 'session' | 'agent';

/** One list of a chunk, as it is gathered. */
export interface Posting {
  readonly kind: PostingKind;
  readonly workspaceId: string;
  readonly id: string;
  readonly seqs: number[];
}

/** Gathers a chunk's lists. Each entry goes into several, so they are found without making a key. */
export interface PostingLists {
  add(seq: number, kind: PostingKind, workspaceId: string, id: string): void;
  readonly all: readonly Posting[];
}

export function createPostingLists(): PostingLists {
  const all: Posting[] = [];
  const byWorkspace = new Map<string, Readonly<Record<PostingKind, Map<string, Posting>>>>();
  return {
    all,
    add(seq, kind, workspaceId, id) {
      let lists = byWorkspace.get(workspaceId);
      if (lists === undefined) {
        lists = { all: new Map(), type: new Map(), run: new Map(), session: new Map(), agent: new Map() };
        byWorkspace.set(workspaceId, lists);
      }
      const posting = lists[kind].get(id);
      if (posting !== undefined) {
        posting.seqs.push(seq);
        return;
      }
      const first: Posting = { kind, workspaceId, id, seqs: [seq] };
      lists[kind].set(id, first);
      all.push(first);
    },
  };
}

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
