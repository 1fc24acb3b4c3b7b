import { texts } from "@/lib/text";
import en from "@/locales/en/common.json";

export const t = texts("common", en);
