import { texts } from "@/lib/text";
import en from "@/locales/en/audit.json";

export const t = texts("audit", en);
