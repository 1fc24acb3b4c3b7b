import { texts } from "@/lib/text";
import en from "@/locales/en/models.json";

export const t = texts("models", en);
