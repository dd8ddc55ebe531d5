import { choiceIn, fieldOf, isLeftEmpty, jsonIn, listIn, OBJECT_IN_TEXT, textIn, unusable, type Field } from '../../../shared/fields.ts';
import { isObject } from '../../../shared/transport.ts';
import { choice, collection, type Item } from '../operation.ts';

/** The chat messages of an item, as OpenAI's API reads them: given whole as JSON, or made from a prompt and images. */
export async function messagesOf(item: Item): Promise<readonly object[]> {
  if (choice(item, 'inputMode') === 'messages') return conversationOf(item);
  const system = wordsOf(item, 'system');
  const images = await imagesOf(item);
  const prompt = wordsOf(item, 'prompt');
  if (prompt === '' && images.length === 0) throw unusable(fieldOf(item.fields, 'prompt'), 'say what the model is to do');
  const content = images.length === 0 ? prompt : [...(prompt === '' ? [] : [{ type: 'text', text: prompt }]), ...images];
  return [...(system === '' ? [] : [{ role: 'system', content: system }]), { role: 'user', content }];
}

function conversationOf(item: Item): readonly object[] {
  const field = fieldOf(item.fields, 'messages');
  const messages = jsonIn(field, 'list') ?? [];
  if (messages.length === 0) throw unusable(field, 'give at least one message', 'empty');
  if (!messages.every(isMessage)) throw unusable(field, 'give each message its role and content', 'a list with something else in it');
  refuseObjects(item, field, JSON.stringify(messages));
  return messages;
}

function isMessage(message: unknown): message is object {
  if (!isObject(message) || typeof message['role'] !== 'string') return false;
  const { role, content } = message;
  return role !== 'user' || (typeof content === 'string' && content.trim() !== '') || (Array.isArray(content) && content.length > 0);
}

/** A text for the model. Nothing would be paid for like any other. */
function wordsOf(item: Item, name: string): string {
  const field = fieldOf(item.fields, name);
  const words = textIn(field);
  if (words === '' && !isLeftEmpty(field)) throw unusable(field, 'give text, or leave the field empty');
  refuseObjects(item, field, words);
  return words;
}

/** n8n writes an object inside a text as nothing a model can use; unless the item itself says those words. */
function refuseObjects(item: Item, field: Field, words: string): void {
  if (!field.isExpression || !words.includes(OBJECT_IN_TEXT)) return;
  if (JSON.stringify(item.context.getInputData()[item.index]?.json ?? {}).includes(OBJECT_IN_TEXT)) return;
  throw unusable(field, 'name a field of the object, or write JSON.stringify(…) around it', `a text with ${OBJECT_IN_TEXT} in it`);
}

/** An address may hold commas itself; one between two is followed by the next. */
const BETWEEN_URLS = /,(?=\s*(?:https?:\/\/|data:|$))/i;

/** Images from addresses and from binary fields. */
async function imagesOf(item: Item): Promise<readonly object[]> {
  const said = collection(item, 'images');
  const urls = listIn(fieldOf(said, 'urls'), BETWEEN_URLS);
  if (!urls.every((url) => /^(?:https?:\/\/\S+$|data:image\/)/i.test(url)))
    throw unusable(fieldOf(said, 'urls'), 'give addresses of images that begin with http:// or https://');
  const detail = choiceIn(fieldOf(said, 'detail'));
  const embedded = await Promise.all(
    listIn(fieldOf(said, 'binaryFields')).map(async (field) => {
      const { mimeType } = item.context.helpers.assertBinaryData(item.index, field);
      const bytes = await item.context.helpers.getBinaryDataBuffer(item.index, field);
      if (!mimeType.startsWith('image/') || bytes.length === 0)
        throw unusable(fieldOf(said, 'binaryFields'), 'name fields that hold an image', `${bytes.length} bytes of ${mimeType} in ${field}`);
      return `data:${mimeType};base64,${bytes.toString('base64')}`;
    }),
  );
  return [...urls, ...embedded].map((url) => ({ type: 'image_url', image_url: { url, ...(detail !== undefined && { detail }) } }));
}
