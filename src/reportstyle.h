/*-------------------------------------------------------------------------
 * reportstyle.h
 *		How the page of jdy_report looks: one style sheet, ASCII, nothing from outside.
 *
 * Included by report.c alone.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_REPORTSTYLE_H
#define JDY_REPORTSTYLE_H

static const char report_style[] =
	/* light, dark, paper */
	":root{color-scheme:light dark;--page:#f4f5f7;--card:#fff;--text:#1c2330;--soft:#5b6575;--line:#dfe3e9;"
	"--good:#1a7f4b;--warn:#b45c00;--bad:#c2263a;--calm:#5b6575;--blue:#2f6fd0;--head:#eef0f4}\n"
	"@media screen and (prefers-color-scheme:dark){:root{--page:#12161d;--card:#1a202a;--text:#e4e8ee;--soft:#9aa5b5;--line:#303947;"
	"--good:#3fbf7f;--warn:#f0a04b;--bad:#ff6b7a;--calm:#9aa5b5;--blue:#6aa5ff;--head:#222a36}}\n"
	"*{box-sizing:border-box}\n"
	"body{margin:0;background:var(--page);color:var(--text);font:14px/1.5 -apple-system,\"Segoe UI\",\"PingFang SC\",\"Microsoft YaHei\","
	"\"Noto Sans CJK SC\",\"Noto Sans\",Helvetica,Arial,sans-serif;font-variant-numeric:tabular-nums;-webkit-text-size-adjust:100%}\n"
	"body>*{max-width:1240px;margin-left:auto;margin-right:auto}\n"
	/* one language at a time */
	"#en:checked~* [lang=zh],#zh:checked~* [lang=en]{display:none}\n"
	"body>input{position:absolute;opacity:0}\n"
	"header{padding:20px 16px 4px;display:flex;flex-wrap:wrap;gap:4px 16px;align-items:baseline}\n"
	"h1{font-size:22px;margin:0;overflow-wrap:anywhere}\n"
	"header p{margin:0;color:var(--soft);flex:1 1 auto}\n"
	"nav{border:1px solid var(--line);border-radius:6px;overflow:hidden;background:var(--card)}\n"
	"nav label{display:inline-block;padding:3px 12px;cursor:pointer;color:var(--soft)}\n"
	"#en:checked~header [for=en],#zh:checked~header [for=zh]{background:var(--blue);color:var(--card)}\n"
	"#en:focus-visible~header [for=en],#zh:focus-visible~header [for=zh]{outline:2px solid var(--text);outline-offset:-2px}\n"
	"main{padding:0 16px 24px}\n"
	"h2{font-size:17px;margin:26px 0 8px}\n"
	"h2 small,figcaption small,.note{color:var(--soft);font-weight:400;font-size:13px}\n"
	".note{margin:6px 0 0}\n"
	/* the first look */
	".tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(118px,1fr));gap:8px;list-style:none;padding:0;margin:12px 0 0}\n"
	".tiles li{background:var(--card);border:1px solid var(--line);border-left:4px solid var(--line);border-radius:6px;padding:8px 12px;color:var(--soft)}\n"
	".tiles b{display:block;font-size:24px;line-height:1.25;color:var(--text)}\n"
	".tiles .bad{border-left-color:var(--bad)}.tiles .warn{border-left-color:var(--warn)}\n"
	".tiles .good{border-left-color:var(--good)}.tiles .calm{border-left-color:var(--calm)}\n"
	".tiles .bad b{color:var(--bad)}.tiles .warn b{color:var(--warn)}\n"
	".contents{margin:14px 0 0;display:flex;flex-wrap:wrap;gap:2px 16px}.contents a{color:var(--blue);text-decoration:none}"
	".contents a:hover,.contents a:focus-visible{text-decoration:underline}\n"
	/* tables */
	"table{width:100%;border-collapse:separate;border-spacing:0;background:var(--card);border:1px solid var(--line);border-radius:6px;overflow:hidden}\n"
	"th,td{padding:5px 10px;text-align:left;vertical-align:top;border-top:1px solid var(--line)}\n"
	"thead th{border-top:0;background:var(--head);font-weight:600;font-size:13px;white-space:nowrap}\n"
	".number{text-align:right;white-space:nowrap}.time,.word{white-space:nowrap}\n"
	".text{overflow-wrap:anywhere;min-width:150px}.name{overflow-wrap:anywhere;font-weight:600;min-width:min(200px,17vw)}\n"
	".none{color:var(--soft)}td b{color:var(--bad)}td code{color:var(--warn);font-size:12px}\n"
	"i{font-style:normal}i.good,i.warn,i.bad,i.calm{display:inline-block;border-radius:4px;padding:0 7px;font-size:12.5px;"
	"border:1px solid currentColor}\n"
	"i.good{color:var(--good)}i.warn{color:var(--warn)}i.bad{color:var(--bad);font-weight:600}i.calm{color:var(--calm)}\n"
	".empty{background:var(--card);border:1px dashed var(--line);border-radius:6px;padding:12px 14px;margin:0;color:var(--soft)}\n"
	/* charts */
	".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,320px),1fr));gap:10px}\n"
	"figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:6px;padding:10px 12px;break-inside:avoid}\n"
	"figure>svg{display:block;width:100%;height:auto;margin-top:4px}\n"
	"figure .empty{border:0;padding:40px 0;text-align:center}\n"
	"svg text{font-size:10.5px;fill:var(--soft)}.grid{stroke:var(--line)}.axis{stroke:var(--soft)}\n"
	"rect.good{fill:var(--good)}rect.bad{fill:var(--bad)}rect.calm{fill:var(--calm)}rect.blue{fill:var(--blue)}rect.warn{fill:var(--warn)}\n"
	".legend{list-style:none;margin:6px 0 0;padding:0;display:flex;flex-wrap:wrap;gap:2px 16px;color:var(--soft);font-size:13px}\n"
	".legend svg{width:10px;height:10px;margin-right:5px}.legend b{color:var(--text)}\n"
	"footer{padding:0 16px 28px;color:var(--soft);font-size:13px}\n"
	/* narrow: each row is a list */
	"@media screen and (max-width:760px){thead{display:none}table,tbody,tr,td{display:block}"
	"tr{padding:8px 0;border-top:1px solid var(--line)}tbody tr:first-child{border-top:0}"
	"td{border:0;padding:2px 12px 2px 116px;text-align:left;white-space:normal;min-height:1.5em;position:relative}"
	"td::before{position:absolute;left:12px;width:98px;color:var(--soft);font-weight:400;font-size:13px}"
	"td.none{display:none}.number,.time,.word{text-align:left;white-space:normal}}\n"
	"@media print{body{background:#fff;font-size:11px}nav,.contents{display:none}body>*{max-width:none}main,header,footer{padding-left:0;padding-right:0}"
	"table{font-size:10px}thead th,td i{font-size:inherit!important}th,td{padding:3px 6px}tr,figure{break-inside:avoid}thead{display:table-header-group}"
	"h2{break-after:avoid;font-size:14px}.charts{grid-template-columns:repeat(3,1fr)}svg text{font-size:15px}.legend,small,.note{font-size:10px}"
	"*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}\n";

#endif							/* JDY_REPORTSTYLE_H */
