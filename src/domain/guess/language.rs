//! Which letters are common in which encoding: what tells a text from the same bytes read otherwise.

use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, Encoding, GB18030, SHIFT_JIS, WINDOWS_1250, WINDOWS_1251, WINDOWS_1253, WINDOWS_1254,
};

/// Characters that files of brokers and banks have more often than others.
const CHINESE: &str = "的一是在不了有和人中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定行学法所民得经证券代码名称成交日期时间数量价格金额委托编号合同余额股东账户帐号资金手续费印花税过户费其他买卖标志市场沪深港银行支付收入支出交易类型对商品状态单备注摘要流水发生本次持仓可用冻结成本盈亏比市值上海深圳币种人民币元账单明细记账附言卡开户名称网点渠道";
const TRADITIONAL: &str = "交易日期時間收入支出餘額帳號戶名證券代號股票名稱成交價格數量金額手續費稅幣別摘要備註買賣市場臺台灣銀行轉帳存提款單位基金淨損益現庫的一是不了在人有我他這為之大來以個中上們到說國和地也子";
const SIMPLE_ONLY: &str = "证码称时间数额编东账户费买卖标场银对类单备发帐盈亏币";
const JAPANESE: &str =
    "約定日銘柄名数量単価取引口座受渡金額手数料税国内株式現物買付売入出高摘要年月日時間円残預証券会社名前";
const KOREAN: &str = "이다는을가에의한하고지기사로도자은인시수대어거래일종목명량금액매도매수잔고체결단가계좌번호입출적요통화원수료세은행결제주식삼성전";

/// How plausible a letter of an encoding of several bytes is, from 0 to 1.
pub(super) fn wide_letter(encoding: &'static Encoding, letter: char, before: char, after: char) -> f64 {
    let sign = matches!(letter, '\u{3000}'..='\u{303f}' | '\u{ff01}'..='\u{ff5e}' | '\u{ffe0}'..='\u{ffe6}');
    // Between letters of ASCII a wide one is two letters of another encoding.
    let between = before.is_ascii_alphabetic() || after.is_ascii_alphabetic();
    let weight = if between { 0.4 } else { 1.0 };
    let (han, kana, hangul) = (
        matches!(letter, '\u{4e00}'..='\u{9fff}'),
        matches!(letter, '\u{3041}'..='\u{30ff}'),
        matches!(letter, '\u{ac00}'..='\u{d7a3}'),
    );
    let known = |common: &str| common.contains(letter);
    let level_one = || {
        let mut buffer = [0; 4];
        let text: &str = letter.encode_utf8(&mut buffer);
        let (bytes, _, failed) = encoding.encode(text);
        if failed || bytes.len() != 2 {
            return false;
        }
        match encoding {
            e if e == GB18030 => (0xb0..=0xd7).contains(&bytes[0]) && bytes[1] >= 0xa1,
            e if e == BIG5 => (0xa4..=0xc6).contains(&bytes[0]),
            e if e == SHIFT_JIS => (0x88..=0x97).contains(&bytes[0]),
            e if e == EUC_JP => (0xb0..=0xcf).contains(&bytes[0]),
            _ => false,
        }
    };
    let score = match encoding {
        e if e == GB18030 && (han || sign) => rank(known(CHINESE), sign || level_one()),
        e if e == BIG5 && (han || sign) && !SIMPLE_ONLY.contains(letter) => {
            rank(known(TRADITIONAL), sign || level_one())
        }
        e if (e == SHIFT_JIS || e == EUC_JP) && kana => 1.0,
        // Katakana of half width are what most bytes of other encodings look like.
        e if e == SHIFT_JIS && matches!(letter, '\u{ff61}'..='\u{ff9f}') => 0.15,
        e if (e == SHIFT_JIS || e == EUC_JP) && (han || sign) => rank(known(JAPANESE), sign || level_one()),
        e if e == EUC_KR && hangul => rank(known(KOREAN), true),
        e if e == EUC_KR && sign => 0.6,
        _ => 0.05,
    };
    score * weight
}

fn rank(common: bool, usual: bool) -> f64 {
    match (common, usual) {
        (true, _) => 1.0,
        (false, true) => 0.6,
        (false, false) => 0.1,
    }
}

/// Letters of the languages that are written in windows-1252.
const WESTERN: &str = "äöüßéèêëàâçîïôûùœæñóíáúåøãõìòÄÖÜÉÈÊÀÂÇÔÅØÓÍÁÚÑÃÕ";
const CENTRAL: &str = "ąćęłńóśźżěščřžýáíéúůďťňőűöüäôľĺŕăâîșțşţĄĆĘŁŃÓŚŹŻĚŠČŘŽÝÁÍÉÚŮĎŤŇŐŰÖÜÄ";
/// Those of them that windows-1252 lacks.
const CENTRAL_ONLY: &str = "ąćęłńśźżěčřůďťňőűľĺŕăşţĄĆĘŁŃŚŹŻĚČŘŮĎŤŇŐŰŞŢ";
const TURKISH_ONLY: &str = "ğışİĞŞ";
const SIGNS: &str = "€£§°«»–—’“”…²³·©®µ½¼ºª¥";

/// How plausible a letter of an encoding of one byte is, from 0 to 1.
pub(super) fn narrow_letter(encoding: &'static Encoding, letter: char, before: char, after: char) -> f64 {
    let in_word = before.is_alphabetic() || after.is_alphabetic();
    if encoding == WINDOWS_1251 {
        let cyrillic = |c: char| matches!(c, '\u{400}'..='\u{45f}' | '№');
        let company = cyrillic(before) || cyrillic(after);
        // Capitals in the middle of a word are what other encodings look like.
        let odd = letter.is_uppercase() && before.is_lowercase();
        return if cyrillic(letter) && company && !odd { 0.97 } else { 0.1 };
    }
    if encoding == WINDOWS_1253 {
        let greek = |c: char| matches!(c, '\u{370}'..='\u{3ff}');
        let odd = letter.is_uppercase() && before.is_lowercase();
        return if greek(letter) && (greek(before) || greek(after)) && !odd { 0.95 } else { 0.1 };
    }
    if letter.is_alphabetic() {
        let odd_case = letter.is_uppercase() && before.is_lowercase();
        if odd_case || !in_word && letter.is_lowercase() && !"àéèóyaoe".contains(letter) {
            return 0.3;
        }
        // A pound sign before an amount, and letters of French and Portuguese.
        let is_western = match letter {
            'Ł' => !after.is_alphabetic(),
            'ű' => before == 'o',
            'ő' => after == 'e',
            _ => false,
        };
        return match encoding {
            e if e == WINDOWS_1250 && is_western => 0.1,
            e if e == WINDOWS_1250 && CENTRAL_ONLY.contains(letter) => 1.0,
            e if e == WINDOWS_1250 && CENTRAL.contains(letter) => 0.85,
            e if e == WINDOWS_1250 => 0.3,
            e if e == WINDOWS_1254 && TURKISH_ONLY.contains(letter) => 1.0,
            e if e == WINDOWS_1254 && letter == 'û' && before == 'o' => 0.1,
            e if e == WINDOWS_1254 && "çöüÇÖÜâîû".contains(letter) => 0.85,
            e if e == WINDOWS_1254 => 0.5,
            // Letters of Portuguese and French that files of Hungary seem to have when they are read so.
            _ if "õûÕÛ".contains(letter) => 0.6,
            _ if WESTERN.contains(letter) => 0.9,
            _ => 0.3,
        };
    }
    // A sign in the middle of a word is a letter of another encoding.
    match SIGNS.contains(letter) {
        true if before.is_alphabetic() && after.is_alphabetic() && letter != '’' => 0.1,
        true if encoding == WINDOWS_1250 || encoding == WINDOWS_1254 => 0.7,
        true => 0.8,
        false => 0.1,
    }
}
