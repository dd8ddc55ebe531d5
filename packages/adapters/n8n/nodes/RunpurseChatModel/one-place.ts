import { NodeOperationError, type ISupplyDataFunctions } from 'n8n-workflow';
import { placeOf, runFieldsOf, type Place } from '../shared/attribution.ts';
import { isObject } from '../shared/transport.ts';

/** n8n shows the message alone. */
const SEVERAL =
  'The items are of different runs, sessions or customers, and n8n makes one model for all of them: put Loop Over Items with batch size 1 before this, so that each is charged on its own. Nothing was spent.';

/**
 * Where the model's calls stand. n8n makes one model for all items of an agent, by the first item's fields: items of two
 * people would all be charged to the first, so they are told apart before anything is spent.
 */
export function onePlaceOf(context: ISupplyDataFunctions, instance: string, itemIndex: number): Place {
  const place = placeOf(context, instance, itemIndex, 0);
  if (itemIndex > 0 || !dependsOnItem(context)) return place;
  const all = context.evaluateExpression('{{ $input.all().length }}', itemIndex);
  const payer = JSON.stringify(runFieldsOf(place));
  for (let other = 1; other < Number(all); other += 1)
    if (JSON.stringify(runFieldsOf(placeOf(context, instance, other, 0))) !== payer)
      throw new NodeOperationError(context.getNode(), SEVERAL, { itemIndex: other });
  return place;
}

function dependsOnItem(context: ISupplyDataFunctions): boolean {
  const { attribution } = context.getNode().parameters;
  return isObject(attribution) && Object.values(attribution).some((value) => typeof value === 'string' && value.startsWith('='));
}
