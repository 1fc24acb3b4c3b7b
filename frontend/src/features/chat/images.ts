/** An image that is ready to be sent. */
export interface PreparedImage {
  id: number;
  name: string;
  type: string;
  /** The size of the file, in bytes. */
  size: number;
  base64: string;
}

/** Why a file was not attached. */
export type Refusal = "type" | "size" | "count" | "total" | "unreadable";

export const IMAGE_TYPES = ["image/png", "image/jpeg", "image/webp"] as const;
export const MAX_IMAGES = 4;
/** In bytes. */
export const MAX_IMAGE_SIZE = 5 << 20;
/**
 * All images of a conversation, in bytes: every question sends those of the former ones again, as
 * base64, in a body of at most 32 MiB.
 */
export const MAX_TOTAL_SIZE = 20 << 20;

let lastId = 0;

/** Why `file` cannot be attached beside `attached`, in a conversation that has `sent` bytes. */
export function refusalOf(
  file: File,
  attached: readonly PreparedImage[],
  sent: number,
): Refusal | undefined {
  const total = attached.reduce((size, image) => size + image.size, sent + file.size);
  if (!IMAGE_TYPES.some((type) => type === file.type)) return "type";
  if (file.size > MAX_IMAGE_SIZE) return "size";
  if (attached.length >= MAX_IMAGES) return "count";
  return total > MAX_TOTAL_SIZE ? "total" : undefined;
}

/** Reads the file. Rejects if the browser cannot. */
export async function prepareImage(file: File): Promise<PreparedImage> {
  const url = await readDataUrl(file);
  lastId += 1;
  const base64 = url.slice(url.indexOf(",") + 1);
  return { id: lastId, name: file.name, type: file.type, size: file.size, base64 };
}

export function imageUrl({ type, base64 }: PreparedImage): string {
  return `data:${type};base64,${base64}`;
}

function readDataUrl(file: File): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error ?? new Error("the file cannot be read"));
    reader.readAsDataURL(file);
  });
}
