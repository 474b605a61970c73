import { createRoot } from "react-dom/client";
import { makeApi } from "./api.js";
import { App } from "./App.jsx";
import { takeToken } from "./dialogs.js";

// Not built in, so that one build serves every site.
const config = await (await fetch("/config.json")).json();
const brought = takeToken();

createRoot(document.querySelector("#root")).render(
  <App config={config} api={makeApi(config)} brought={brought} />);
