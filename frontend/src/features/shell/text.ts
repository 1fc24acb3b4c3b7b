import { texts } from "@/lib/text";
import en from "@/locales/en/shell.json";

export const t = texts("shell", en);
