import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App, followSession } from "@/app";
import { applyTheme } from "@/lib/theme";
import { createAppQueryClient, createAppRouter } from "@/router";
import "@/styles/index.css";

applyTheme();

const queryClient = createAppQueryClient();
const router = createAppRouter(queryClient);
followSession({ router, queryClient });

const root = document.getElementById("root");
if (root === null) throw new Error("index.html has no element #root");
createRoot(root).render(
  <StrictMode>
    <App router={router} queryClient={queryClient} />
  </StrictMode>,
);
