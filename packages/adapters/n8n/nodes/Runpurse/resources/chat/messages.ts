import type { IDataObject } from 'n8n-workflow';
import { jsonParameter } from '../json.ts';
import { text, type Item } from '../operation.ts';

/** The chat messages of an item, as OpenAI's API reads them: given whole as JSON, or made from a prompt and images. */
export async function messagesOf(item: Item): Promise<readonly object[]> {
  if (text(item, 'inputMode') === 'messages')
    return (jsonParameter(item, 'messages', 'Messages', Array.isArray) ?? []) as readonly object[];
  const system = text(item, 'system');
  const images = await imagesOf(item);
  const prompt = text(item, 'prompt');
  const content = images.length === 0 ? prompt : [{ type: 'text', text: prompt }, ...images];
  return [...(system === '' ? [] : [{ role: 'system', content: system }]), { role: 'user', content }];
}

/** Images from addresses and from binary fields, both comma-separated. */
async function imagesOf(item: Item): Promise<readonly object[]> {
  const said = item.context.getNodeParameter('images', item.index, {}) as IDataObject;
  const urls = listOf(said['urls']);
  const embedded = await Promise.all(
    listOf(said['binaryFields']).map(async (field) => {
      const { mimeType } = item.context.helpers.assertBinaryData(item.index, field);
      const bytes = await item.context.helpers.getBinaryDataBuffer(item.index, field);
      return `data:${mimeType};base64,${bytes.toString('base64')}`;
    }),
  );
  const detail = typeof said['detail'] === 'string' && said['detail'] !== '' ? { detail: said['detail'] } : {};
  return [...urls, ...embedded].map((url) => ({ type: 'image_url', image_url: { url, ...detail } }));
}

function listOf(value: unknown): readonly string[] {
  if (Array.isArray(value)) return value.map(String);
  if (typeof value !== 'string') return [];
  return value
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}
