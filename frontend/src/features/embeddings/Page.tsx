import { useQuery } from "@tanstack/react-query";
import { Sparkles, Waypoints } from "lucide-react";
import { type FormEvent, useState } from "react";
import { ownModelsQuery } from "@/api/own-models";
import { Button } from "@/components/Button";
import { Checkbox } from "@/components/Checkbox";
import { EmptyState } from "@/components/EmptyState";
import { ErrorNotice } from "@/components/ErrorNotice";
import { ModelField } from "@/components/ModelField";
import { PageHeader } from "@/components/PageHeader";
import { Panel } from "@/components/Panel";
import { TextArea } from "@/components/TextArea";
import { textsOf } from "@/features/embeddings/cosine";
import { useEmbed } from "@/features/embeddings/queries";
import { Result } from "@/features/embeddings/Result";
import type { ChangeSearch, EmbeddingsSearch } from "@/features/embeddings/search";
import { t } from "@/features/embeddings/text";

/** More pairs than these texts make cannot be compared by eye. */
const MAX_TEXTS = 40;

interface Props {
  search: EmbeddingsSearch;
  onSearch: ChangeSearch;
}

export function EmbeddingsPage({ search, onSearch }: Props) {
  const models = useQuery(ownModelsQuery);
  const embed = useEmbed();
  const [value, setValue] = useState("");
  const [hasTried, setHasTried] = useState(false);
  const model =
    search.model ?? (models.data?.find((each) => each.isEmbedder) ?? models.data?.[0])?.name ?? "";
  const isSplit = search.as !== "one";
  const texts = textsOf(value, isSplit);
  const problem = texts.length > MAX_TEXTS ? tooMany(texts.length) : missing(texts);

  const generate = () => embed.mutate({ model, texts });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setHasTried(true);
    if (model === "" || problem !== undefined) return;
    onSearch({ text: undefined });
    generate();
  };

  return (
    <>
      <PageHeader title={t("page.title")} description={t("page.description")} />
      <Panel title={t("form.title")} description={t("form.description")}>
        <form onSubmit={submit} noValidate className="flex flex-col gap-3">
          <div className="max-w-sm">
            <ModelField
              label={t("form.model.label")}
              choices={models.data?.map(({ name, isEmbedder }) => ({
                name,
                isSuited: isEmbedder,
              }))}
              groups={{ suited: t("form.model.suited"), others: t("form.model.others") }}
              error={models.error}
              onReload={() => void models.refetch()}
              value={model}
              onChange={(to) => onSearch({ model: to })}
              problem={hasTried && model === "" ? t("form.model.required") : undefined}
            />
          </div>
          <TextArea
            label={t("form.text.label")}
            hint={
              isSplit && texts.length > 0
                ? t("form.text.count", { count: texts.length })
                : undefined
            }
            placeholder={t("form.text.example")}
            rows={4}
            value={value}
            onChange={(event) => setValue(event.target.value)}
            error={hasTried || texts.length > MAX_TEXTS ? problem : undefined}
          />
          <Checkbox
            label={t("form.split.label")}
            hint={t("form.split.hint")}
            checked={isSplit}
            onChange={(event) => onSearch({ as: event.target.checked ? undefined : "one" })}
          />
          <ErrorNotice error={embed.error} onRetry={generate} />
          <div>
            <Button type="submit" variant="primary" icon={Sparkles} isBusy={embed.isPending}>
              {t("form.submit")}
            </Button>
          </div>
        </form>
      </Panel>
      {embed.data === undefined ? (
        <Panel title={t("result.title")}>
          <EmptyState icon={Waypoints} title={t("empty.title")}>
            {t("empty.detail")}
          </EmptyState>
        </Panel>
      ) : (
        <Result result={embed.data} search={search} onSearch={onSearch} />
      )}
    </>
  );
}

function missing(texts: readonly string[]): string | undefined {
  return texts.length === 0 ? t("form.text.required") : undefined;
}

function tooMany(count: number): string {
  return t("form.text.tooMany", { most: MAX_TEXTS, given: count });
}
