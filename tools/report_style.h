// The style sheet of reports: for the page and for the charts in it. Private to report.cpp.
//
// Blue is normal and orange is anomalous throughout; the two are told apart by people who do not tell red
// from green.
#pragma once

namespace panda::tools {

inline constexpr const char* kReportStyle = R"(
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#15181d;--soft:#5b6370;--line:#dfe3e8;--grid:#e9ecf0;
--normal:#2563eb;--anomalous:#ea580c;--good:#15803d;--bad:#c2410c}
@media(prefers-color-scheme:dark){:root{--page:#101216;--card:#191c22;--ink:#eceef2;--soft:#9aa3b2;--line:#2b303a;
--grid:#262b34;--normal:#6ea0ff;--anomalous:#ff9350;--good:#5fd38d;--bad:#ffa26b}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,'Segoe UI','DejaVu Sans',sans-serif}
main{max-width:1040px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:28px;line-height:1.2;margin:0 0 6px}
h2{font-size:19px;margin:40px 0 12px}
h3{font-size:14px;font-weight:600;margin:0 0 8px}
p{margin:0 0 10px}
.soft,figcaption,.cards small{color:var(--soft)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:22px 0}
.cards div,.panel{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px}
.panel{overflow-x:auto}
.cards b{display:block;font-size:26px;line-height:1.25;font-weight:650;font-variant-numeric:tabular-nums}
.cards span{font-size:13px;color:var(--soft)}
.cards small{display:block;font-size:12px;line-height:1.35;margin-top:4px;text-wrap:pretty}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(400px,1fr));gap:14px}
.wide{grid-column:1/-1}
.panel svg{display:block;width:100%;height:auto}
.key{display:flex;gap:18px;font-size:13px;color:var(--soft);margin:2px 0 6px}
.key i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px;vertical-align:-1px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:14px}
th,td{text-align:right;padding:7px 10px;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--soft);font-size:13px}
th:first-child,td:first-child{text-align:left}
tr:last-child td{border-bottom:0}td{white-space:nowrap}
.pairs td{text-align:left;white-space:normal;overflow-wrap:anywhere}
.pairs td:first-child{color:var(--soft);white-space:nowrap;width:1%;padding-right:24px}
code{font:13px/1.45 ui-monospace,'DejaVu Sans Mono',monospace}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,var(--cell)),1fr));gap:14px}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:10px;padding:8px;break-inside:avoid}
figure div{display:flex;gap:4px;align-items:flex-start}
figure img{flex:1 1 0;min-width:0;width:100%;height:auto;display:block;border-radius:4px}
figcaption{font-size:12px;line-height:1.4;margin:6px 2px 0;overflow-wrap:anywhere}
figcaption b{color:var(--ink);font-variant-numeric:tabular-nums}
.flag{font-weight:600}.flag.right{color:var(--good)}.flag.wrong{color:var(--bad)}
.ramp{display:inline-block;width:180px;height:11px;border-radius:3px;vertical-align:-1px;margin:0 8px}
svg{font-family:inherit}
svg .grid{stroke:var(--grid)}svg .axis{stroke:var(--soft)}
svg .tick{font-size:11.5px;fill:var(--soft)}svg .axis-label{font-size:12px;fill:var(--soft)}
svg .legend,svg .note{font-size:12px;fill:var(--ink)}
svg .line-a,svg .line-b,svg .line-c{fill:none;stroke-width:2.2;stroke-linejoin:round}
svg .line-a{stroke:var(--normal)}svg .line-b{stroke:var(--anomalous);stroke-dasharray:7 3}
svg .line-c{stroke:var(--good);stroke-dasharray:2 3}svg .dot{stroke-dasharray:none}
svg .diagonal{stroke:var(--soft);stroke-dasharray:2 4}
svg .marker{fill:var(--card);stroke:var(--ink);stroke-width:2.2}
svg .threshold{stroke:var(--ink);stroke-width:1.6;stroke-dasharray:5 4}
svg .bar-normal{fill:var(--normal)}svg .bar-anomalous{fill:var(--anomalous)}
@media(max-width:520px){.charts{grid-template-columns:1fr}}
@media print{:root{color-scheme:light;--page:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#ccc;--grid:#e5e5e5;
--normal:#2563eb;--anomalous:#ea580c;--good:#15803d;--bad:#c2410c}
main{max-width:none;padding:0}h2,h2+p{break-after:avoid}.panel,.cards div,figure,tr{break-inside:avoid}
body{font-size:13px}h2{margin:26px 0 8px}.cards{grid-template-columns:repeat(6,1fr);gap:8px;margin:14px 0}
.cards div,.panel{padding:10px 12px}.cards b{font-size:19px}.cards small{font-size:10.5px}table{font-size:12.5px}
.charts{grid-template-columns:1fr 1fr}.sheet{grid-template-columns:repeat(auto-fill,minmax(calc(.72*var(--cell)),1fr))}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
)";

}  // namespace panda::tools
