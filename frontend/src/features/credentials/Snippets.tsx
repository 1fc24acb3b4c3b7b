import { useQuery } from "@tanstack/react-query";
import { useId, useState } from "react";
import { modelNamesQuery } from "@/api/models";
import { CopyButton } from "@/components/CopyButton";
import { Select } from "@/components/Select";
import { allowsModel } from "@/features/credentials/patterns";
import type { Scope } from "@/features/credentials/queries";
import { type Client, clientsFor, snippet } from "@/features/credentials/snippets";
import { t } from "@/features/credentials/text";
import { isNamedForEmbeddings } from "@/lib/models";

interface Props {
  secret: string;
  label: string;
  scopes: readonly Scope[];
  /** The lists of the key and of its owner. A model must be in each of them. */
  models: readonly (readonly string[] | null)[];
  /** Called when a snippet, and the secret in it, was copied. */
  onCopy: () => void;
}

const ANY_MODEL = "smollm2:135m";

/** How each client uses the key, with the address of this server and a model filled in. */
export function Snippets({ secret, label, scopes, models, onCopy }: Props) {
  const name = useId();
  const clients = clientsFor(scopes);
  const [client, setClient] = useState<Client>("curl");
  const [chosen, setChosen] = useState<string>();
  const known = useQuery(modelNamesQuery);
  const usable = (known.data ?? []).filter((model) =>
    models.every((patterns) => allowsModel(patterns, model)),
  );
  const model = chosen ?? firstFor(scopes, usable) ?? ANY_MODEL;
  const code = snippet(client, { server: location.origin, secret, model, label, scopes });
  return (
    <section aria-labelledby={`${name}-title`} className="flex min-w-0 flex-col gap-3">
      <div className="flex flex-wrap items-end justify-between gap-3">
        <h3 id={`${name}-title`} className="font-semibold">
          {t("snippets.title")}
        </h3>
        {usable.length > 1 && (
          <div className="w-60 max-w-full">
            <Select
              label={t("snippets.model")}
              value={model}
              options={usable.map((value) => ({ value, label: value }))}
              onChange={(event) => setChosen(event.target.value)}
            />
          </div>
        )}
      </div>
      <fieldset>
        <legend className="sr-only">{t("snippets.client")}</legend>
        <div className="flex flex-wrap gap-1 rounded-lg bg-subtle p-1">
          {clients.map((each) => (
            <label
              key={each}
              className="grow cursor-pointer rounded-md border border-transparent px-2.5 py-1 text-center text-sm has-checked:border-edge has-checked:bg-surface has-checked:font-medium has-focus-visible:outline-2 has-focus-visible:outline-accent"
            >
              <input
                type="radio"
                name={name}
                checked={each === client}
                onChange={() => setClient(each)}
                className="sr-only"
              />
              {t(`snippets.${each}`)}
            </label>
          ))}
        </div>
      </fieldset>
      <div className="min-w-0 overflow-hidden rounded-lg border border-line bg-subtle">
        <div className="flex items-center justify-between gap-2 border-line border-b py-1 ps-3 pe-1">
          <p className="text-muted text-sm">{t(`snippets.about.${client}`)}</p>
          <CopyButton
            text={code}
            target={t("snippets.copyTarget", { client: t(`snippets.${client}`) })}
            onCopy={onCopy}
          />
        </div>
        <pre className="max-h-72 overflow-auto whitespace-pre-wrap break-all px-3 py-2.5 font-mono text-xs leading-5">
          <code>{code}</code>
        </pre>
      </div>
      {known.isSuccess && usable.length === 0 && (
        <p className="text-muted text-sm">{t("snippets.noModels")}</p>
      )}
    </section>
  );
}

/** A model for what the key may do: one for embeddings only if it may do nothing else. */
function firstFor(scopes: readonly Scope[], models: readonly string[]): string | undefined {
  const isEmbedding = !scopes.includes("chat") && !scopes.includes("generate");
  return models.find((model) => isNamedForEmbeddings(model) === isEmbedding) ?? models[0];
}
