// SPDX-License-Identifier: Apache-2.0
// Quotes on offer. Fixed for now: they will come from the api.
export const quotes = [
  {
    id: 'Q-2401', from: 'KRPUS', to: 'THLCH', days: 9, amount: 184_500_000, currency: 'KRW',
    ko: '홍삼 6년근 1,200상자',
    en: '6-year red ginseng, 1,200 boxes',
  },
  {
    id: 'Q-2402', from: 'THLCH', to: 'KRINC', days: 11, amount: 6_912_000, currency: 'THB',
    ko: '재스민 쌀 25kg 9,600포',
    en: 'Jasmine rice 25 kg, 9,600 bags',
  },
  {
    id: 'Q-2403', from: 'CNSHA', to: 'KRPUS', days: 4, amount: 870_000, currency: 'CNY',
    ko: '2층 회로 기판 150,000장',
    en: '2-layer circuit boards, 150,000 pcs',
  },
  {
    id: 'Q-2404', from: 'MYPKG', to: 'HKHKG', days: 6, amount: 494_000, currency: 'MYR',
    ko: '팜유 20L 5,200통',
    en: 'Palm oil 20 l, 5,200 cans',
  },
  {
    id: 'Q-2405', from: 'KRINC', to: 'MYPKG', days: 8, amount: 72_960_000, currency: 'KRW',
    ko: '조미김 48,000봉',
    en: 'Roasted laver, 48,000 packs',
  },
];
