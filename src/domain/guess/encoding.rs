//! The encoding of a text: by its byte order mark, by being valid UTF-8, or by which encoding makes words of its bytes.

use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, Encoding, GB18030, KOI8_R, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1250, WINDOWS_1251,
    WINDOWS_1252, WINDOWS_1253, WINDOWS_1254, WINDOWS_1255,
};

use super::language;

/// An encoding and how it was found.
#[derive(Clone, Debug)]
pub struct FoundEncoding {
    /// The encoding.
    pub encoding: &'static Encoding,
    /// Whether a byte order mark says so, so that it need not be declared.
    pub marked: bool,
    /// How it was found.
    pub evidence: String,
    /// Set if the bytes do not tell: other encodings that make as much sense of them, and words of the text as this one reads them.
    pub doubt: Option<Doubt>,
}

/// Why an encoding is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The encodings that it may be.
    pub encodings: Vec<&'static Encoding>,
    /// Words with the letters in question, each as every one of those encodings reads it.
    pub words: Vec<String>,
}

/// Two encodings whose scores differ by less make as much sense as each other.
const CLOSE: f64 = 0.12;
/// A text in an encoding that is not known scores less.
const PLAUSIBLE: f64 = 0.75;
/// Encodings that make sense of almost any bytes are only told apart by the words.
const OF_ONE_BYTE: [&Encoding; 3] = [WINDOWS_1252, WINDOWS_1250, WINDOWS_1254];
/// How many words are shown.
const MOST_WORDS: usize = 5;

/// The most bytes that are looked at.
const MOST: usize = 512 * 1024;

/// Finds the encoding of a text. `whole` says whether the bytes are all of the file, so that no character is cut at their end.
#[must_use]
pub fn find_encoding(bytes: &[u8], whole: bool) -> FoundEncoding {
    let found = |encoding, marked, evidence: &str| FoundEncoding {
        encoding,
        marked,
        evidence: evidence.to_owned(),
        doubt: None,
    };
    if let Some((encoding, _)) = Encoding::for_bom(bytes) {
        return found(encoding, true, "a byte order mark");
    }
    let whole = whole && bytes.len() <= MOST;
    let bytes = &bytes[..bytes.len().min(MOST)];
    if let Some(wide) = wide(bytes) {
        return found(wide, false, "every second byte is zero");
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => return found(UTF_8, false, "nothing but ASCII"),
        Ok(_) => return found(UTF_8, false, "all bytes are valid UTF-8"),
        Err(error) if error.error_len().is_none() && !whole => return found(UTF_8, false, "all bytes are valid UTF-8"),
        Err(_) => {}
    }
    let candidates = [
        GB18030,
        BIG5,
        SHIFT_JIS,
        EUC_JP,
        EUC_KR,
        WINDOWS_1252,
        WINDOWS_1250,
        WINDOWS_1251,
        WINDOWS_1254,
        WINDOWS_1253,
    ];
    let mut best: Option<(f64, &'static Encoding)> = None;
    let mut scores: Vec<(f64, &'static Encoding)> = Vec::new();
    for encoding in candidates {
        let Some(score) = plausibility(encoding, bytes, whole) else { continue };
        scores.push((score, encoding));
        if best.is_none_or(|(most, _)| score > most + 1e-9) {
            best = Some((score, encoding));
        }
    }
    match best {
        Some((score, encoding)) => {
            let evidence =
                format!("the bytes are not UTF-8, and make words in {}", encoding.name().to_ascii_lowercase());
            FoundEncoding { encoding, marked: false, evidence, doubt: doubt(bytes, (score, encoding), &scores) }
        }
        None => found(WINDOWS_1252, false, "the bytes are not in any other encoding that is known"),
    }
}

/// What else the bytes may be in, if they do not tell.
fn doubt(bytes: &[u8], (most, best): (f64, &'static Encoding), scores: &[(f64, &'static Encoding)]) -> Option<Doubt> {
    let read = |encoding: &'static Encoding| encoding.decode_without_bom_handling(bytes).0.into_owned();
    let text = read(best);
    let is_rival = |(score, encoding): &&(f64, &'static Encoding)| {
        *encoding != best && OF_ONE_BYTE.contains(encoding) && score + CLOSE > most && read(encoding) != text
    };
    let mut encodings = vec![best];
    if OF_ONE_BYTE.contains(&best) {
        encodings.extend(scores.iter().filter(is_rival).map(|(_, encoding)| *encoding));
    }
    if best == WINDOWS_1251 {
        let mut push = |applies: bool, encoding| encodings.extend(applies.then_some(encoding));
        push(has_capitals_within(&text), KOI8_R);
        push(may_be_hebrew(&text), WINDOWS_1255);
    }
    if encodings.len() == 1 && most >= PLAUSIBLE {
        return None;
    }
    let texts: Vec<String> = encodings.iter().map(|encoding| read(encoding)).collect();
    let split =
        |text: &str| text.split([',', ';', '\t', '|', '"', ' ', '\n', '\r']).map(str::to_owned).collect::<Vec<_>>();
    let all: Vec<Vec<String>> = texts.iter().map(|text| split(text)).collect();
    let mut words: Vec<String> = Vec::new();
    for (at, word) in all[0].iter().enumerate().filter(|(_, word)| !word.is_ascii()) {
        let mut forms: Vec<&str> = Vec::new();
        for form in all.iter().filter_map(|words| words.get(at)) {
            if !forms.contains(&form.as_str()) {
                forms.push(form);
            }
        }
        let shown = forms.join(" / ");
        if (forms.len() > 1 || all.len() == 1) && words.len() < MOST_WORDS && !words.contains(&shown) && word.len() < 60
        {
            words.push(shown);
        }
    }
    Some(Doubt { encodings, words })
}

/// Whether words have a capital after a small letter: in the wrong one of two encodings of Cyrillic, capitals and small letters are exchanged, and
/// letters of other scripts are mixed.
fn has_capitals_within(text: &str) -> bool {
    let words = || {
        text.split(|letter: char| !letter.is_alphabetic()).filter(|word| !word.is_ascii() && word.chars().count() > 2)
    };
    let is_odd = |word: &&str| {
        word.chars().zip(word.chars().skip(1)).any(|(one, next)| one.is_lowercase() && next.is_uppercase())
    };
    words().filter(is_odd).count() * 5 > words().count()
}

/// Whether text that was read as Cyrillic may be Hebrew, which has no capitals, and whose letters are read as those up to ъ.
fn may_be_hebrew(text: &str) -> bool {
    text.chars().filter(|letter| letter.is_alphabetic() && !letter.is_ascii()).all(|letter| matches!(letter, 'а'..='ъ'))
}

fn wide(bytes: &[u8]) -> Option<&'static Encoding> {
    let zeros = |from: usize| bytes.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    let half = bytes.len() / 2;
    match () {
        () if half < 2 => None,
        () if odd * 2 > half && even * 10 < half => Some(UTF_16LE),
        () if even * 2 > half && odd * 10 < half => Some(UTF_16BE),
        () => None,
    }
}

/// How much the bytes look like text in an encoding, from 0 to 1; `None` if they are not in it.
fn plausibility(encoding: &'static Encoding, bytes: &[u8], whole: bool) -> Option<f64> {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut text = String::with_capacity(decoder.max_utf8_buffer_length(bytes.len())?);
    let (result, ..) = decoder.decode_to_string_without_replacement(bytes, &mut text, whole);
    if result != encoding_rs::DecoderResult::InputEmpty {
        return None;
    }
    let many =
        encoding == GB18030 || encoding == BIG5 || encoding == SHIFT_JIS || encoding == EUC_JP || encoding == EUC_KR;
    let letters: Vec<char> = text.chars().collect();
    let (mut good, mut all) = (0.0, 0.0);
    for (at, letter) in letters.iter().enumerate().filter(|(_, letter)| !letter.is_ascii()) {
        all += 1.0;
        let near = |index: Option<usize>| index.and_then(|index| letters.get(index)).copied().unwrap_or(' ');
        let (before, after) = (near(at.checked_sub(1)), near(Some(at + 1)));
        good += if many {
            language::wide_letter(encoding, *letter, before, after)
        } else {
            language::narrow_letter(encoding, *letter, before, after)
        };
    }
    Some(if all == 0.0 { 0.0 } else { good / all })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(text: &str, encoding: &'static Encoding) -> &'static str {
        find_encoding(&encoding.encode(text).0, true).encoding.name()
    }

    #[test]
    fn a_text_is_found_in_its_encoding() {
        for (text, encoding) in [
            ("证券代码\t证券名称\t成交日期\n600913\t岭南新材\t20250102\n", GB18030),
            ("交易日期,交易時間,收入,支出,餘額\n", BIG5),
            ("約定日,銘柄,銘柄コード,数量,単価\n2025/01/02,トヨタ自動車,7203,100,2500\n", SHIFT_JIS),
            ("거래일자,종목명,수량,거래금액\n2025-01-02,삼성전자,10,700000\n", EUC_KR),
            ("Buchungstag;Empfänger;Betrag\n02.01.2025;Müller & Söhne;12,50\n", WINDOWS_1252),
            ("Datum;Värdepapper;Köp\n;Utländsk källskatt;\n", WINDOWS_1252),
            ("Date;Libellé;Débit euros;Crédit euros\n02/01/2025;CARTE CAFÉ;1,50;\n", WINDOWS_1252),
            ("Trade Date,Value (£),Text\n2025-01-02,£12.50,£1 Ords\n", WINDOWS_1252),
            ("Date;Texte;Montant\n02 août 2025;coût;1,50\n", WINDOWS_1252),
            ("Fecha;Descripción;Operación;Importe €\n", WINDOWS_1252),
            ("Data operacji;Opis operacji;Rachunek źródłowy;Kwota\n;Płatność kartą, Łódź;;12,50 zł\n", WINDOWS_1250),
            ("Datum provedení;Částka;Měna;Zpráva pro příjemce\n;;Kč;Převod z účtu\n", WINDOWS_1250),
            ("Könyvelés dátuma;Összeg;Devizanem;Közlemény\n;;;Díj, költség, Győr fű\n", WINDOWS_1250),
            ("Дата сделки;Сумма;Валюта\n01.02.2025;Покупка;Сбербанк\n", WINDOWS_1251),
            ("Tarih;Açıklama;İşlem tutarı\n;Alış işlemi, ışık;\n", WINDOWS_1254),
            ("名前,金額\n、取引、口座\n", EUC_JP),
        ] {
            assert_eq!(name_of(text, encoding), encoding.name(), "{text}");
        }
        for (text, encoding) in [
            ("id;Имя;Сумма\n1;Иванов Иван;1,50\n2;Петров Пётр;2,50\n3;Счёт оплачен;3,5\n", KOI8_R),
            ("id;الاسم;المبلغ\n1;محمد علي;1,50\n2;أحمد حسن;2,50\n", encoding_rs::WINDOWS_1256),
            ("תאריך,תיאור,אסמכתא\n31/01/2025,משכורת חברת,123456\n30/01/2025,הוראת קבע,123457\n", WINDOWS_1255),
        ] {
            assert!(find_encoding(&encoding.encode(text).0, true).doubt.is_some(), "{text}");
        }
        for russian in [
            "id;Имя;ИНН\n1;Иванов Иван;ПАО\n2;Петров Пётр;ООО\n",
            "дата;описание;сумма\n31.01.2025;комиссия банка за январь;3,50\n",
        ] {
            assert_eq!(find_encoding(&WINDOWS_1251.encode(russian).0, true).doubt, None);
        }
        assert_eq!(name_of("a,b\n", UTF_8), "UTF-8");
        let wide: Vec<u8> = "a,价\n1,2\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(find_encoding(&wide, true).encoding, UTF_16LE);
    }

    #[test]
    fn a_character_that_the_sample_cuts_is_no_error() {
        assert_eq!(find_encoding(&"价".as_bytes()[..2], false).encoding, UTF_8);
        let bytes = GB18030.encode("证券代码证券名称").0;
        assert_eq!(find_encoding(&bytes[..bytes.len() - 1], false).encoding, GB18030);
    }
}
