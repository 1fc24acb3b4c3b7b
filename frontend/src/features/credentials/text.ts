import { texts } from "@/lib/text";
import en from "@/locales/en/credentials.json";

export const t = texts("credentials", en);
