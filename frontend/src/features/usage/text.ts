import { texts } from "@/lib/text";
import en from "@/locales/en/usage.json";

export const t = texts("usage", en);
