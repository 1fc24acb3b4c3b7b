import { texts } from "@/lib/text";
import en from "@/locales/en/embeddings.json";

export const t = texts("embeddings", en);
