import { texts } from "@/lib/text";
import en from "@/locales/en/overview.json";

export const t = texts("overview", en);
