// SPDX-License-Identifier: Apache-2.0
import { quotes } from './quotes.mjs';

const TEXT = {
  ko: {
    title: '리인디어스 무역 플랫폼',
    lead: '견적부터 정산까지, 한 곳에서.',
    quotes: '견적 목록',
    columns: ['번호', '품목', '구간', '금액', '소요일'],
    days: (n) => `${n}일`,
    served: '이 화면을 그린 곳',
    region: '리전',
    instance: '인스턴스',
    other: { lang: 'en', name: 'English' },
  },
  en: {
    title: 'REINDEERS trade platform',
    lead: 'From quote to settlement, in one place.',
    quotes: 'Quotes',
    columns: ['No.', 'Goods', 'Route', 'Amount', 'Transit'],
    days: (n) => `${n} days`,
    served: 'This page was rendered by',
    region: 'region',
    instance: 'instance',
    other: { lang: 'ko', name: '한국어' },
  },
};
const MARKS = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

const escape = (text) => String(text).replace(/[&<>"']/g, (mark) => MARKS[mark]);

function row(quote, lang) {
  const amount = new Intl.NumberFormat(lang, { style: 'currency', currency: quote.currency })
    .format(quote.amount);
  const id = escape(quote.id);
  return `<tr id="${id}"><td>${id}</td><td>${escape(quote[lang])}</td>` +
    `<td>${escape(quote.from)} → ${escape(quote.to)}</td><td class="n">${escape(amount)}</td>` +
    `<td class="n">${escape(TEXT[lang].days(quote.days))}</td></tr>`;
}

/** The language a visitor reads: ?lang= first, then the first of Accept-Language, then Korean. */
export function chooseLanguage(query, acceptLanguage = '') {
  const asked = query.get('lang') ?? '';
  if (Object.hasOwn(TEXT, asked)) return asked;
  return /^\s*en\b/i.test(acceptLanguage) ? 'en' : 'ko';
}

export function renderPage(lang, me) {
  const t = TEXT[lang];
  return `<!doctype html>
<html lang="${lang}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${t.title}</title>
<link rel="icon" href="/assets/mark.svg">
<link rel="stylesheet" href="/assets/style.css">
</head>
<body>
<header><img src="/assets/mark.svg" alt="" width="40" height="40"><h1>${t.title}</h1>
<a href="/?lang=${t.other.lang}" lang="${t.other.lang}">${t.other.name}</a></header>
<main>
<p>${t.lead}</p>
<h2>${t.quotes}</h2>
<table>
<thead><tr>${t.columns.map((name) => `<th scope="col">${name}</th>`).join('')}</tr></thead>
<tbody>
${quotes.map((quote) => row(quote, lang)).join('\n')}
</tbody>
</table>
</main>
<footer>${t.served}: ${t.region} <b id="region">${escape(me.region)}</b>,
${t.instance} <b id="instance">${escape(me.instance)}</b></footer>
</body>
</html>
`;
}
