import { texts } from "@/lib/text";
import en from "@/locales/en/auth.json";

export const t = texts("auth", en);
