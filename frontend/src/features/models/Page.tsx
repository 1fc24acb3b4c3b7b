import { useQuery } from "@tanstack/react-query";
import { Download } from "lucide-react";
import { Button } from "@/components/Button";
import { HeldBack } from "@/components/HeldBack";
import { PageHeader } from "@/components/PageHeader";
import { DeleteModel } from "@/features/models/DeleteModel";
import { ModelDetails } from "@/features/models/ModelDetails";
import { ModelList } from "@/features/models/ModelList";
import { PullDialog } from "@/features/models/PullDialog";
import { PullList } from "@/features/models/PullList";
import { modelsQuery } from "@/features/models/queries";
import type { ChangeSearch, ModelsSearch } from "@/features/models/search";
import { t } from "@/features/models/text";

interface Props {
  search: ModelsSearch;
  onSearch: ChangeSearch;
}

export function ModelsPage({ search, onSearch }: Props) {
  const models = useQuery(modelsQuery);
  const selected = models.data?.models.find(({ model }) => model === search.selected);
  return (
    <>
      <PageHeader
        title={t("page.title")}
        description={t("page.description")}
        actions={
          <Button variant="primary" icon={Download} onClick={() => onSearch({ open: "pull" })}>
            {t("page.pull")}
          </Button>
        }
      />
      <ModelList models={models} search={search} onSearch={onSearch} />
      <HeldBack while={models.isPending}>
        <PullList page={search.page ?? 1} onSearch={onSearch} />
      </HeldBack>
      {search.open === "pull" && <PullDialog onClose={() => onSearch({ open: undefined })} />}
      {search.open === undefined && selected !== undefined && (
        <ModelDetails
          model={selected}
          onDelete={() => onSearch({ open: "delete" })}
          onClose={() => onSearch({ selected: undefined })}
        />
      )}
      {search.open === "delete" && selected?.managed_by.length === 0 && (
        <DeleteModel
          model={selected}
          onDeleted={() => onSearch({ open: undefined, selected: undefined })}
          onClose={() => onSearch({ open: undefined })}
        />
      )}
    </>
  );
}
