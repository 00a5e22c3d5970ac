import "../style/fonts.css";
import "../style/tokens.css";
import "./operator.css";
import { createRoot } from "react-dom/client";
import { App } from "./app.tsx";

createRoot(document.getElementById("root")!).render(<App />);
