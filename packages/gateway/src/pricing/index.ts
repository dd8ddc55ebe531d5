export { boundsOf, outputLimitWithin, type CallBounds } from './call-bounds.ts';
export { chargeFor, type CallEnd, type Charge } from './charge.ts';
export { createPriceBook, type PriceBookOptions } from './price-book.ts';
export type { CostOptions, PriceBook, PriceCard, PricedProvider, WorstCase } from './price-card.ts';
