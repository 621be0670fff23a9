use proptest::prelude::*;

use super::*;

/// Returns one byte at a time, as the worst network would.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
        buffer[0] = *first;
        self.0 = rest;
        Ok(1)
    }
}

#[test]
fn cells_keep_their_quotes() {
    let raw = br#"7,"a: ""1,5""",,d"#;
    assert_eq!(cells_of(raw).collect::<Vec<_>>(), [&b"7"[..], br#""a: ""1,5""""#, b"", b"d"]);
}

type Split = Vec<(i64, u64, String, Vec<String>)>;

fn split(text: &[u8]) -> Result<Split, SplitError> {
    let mut records = Records::new(Trickle(text))?;
    let mut all = Vec::new();
    while let Some(record) = records.next_record()? {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        all.push((record.line, record.offset, text(record.raw), record.fields().map(text).collect()));
    }
    Ok(all)
}

fn fields(text: &str) -> Vec<Vec<String>> {
    split(text.as_bytes()).unwrap().into_iter().map(|record| record.3).collect()
}

#[test]
fn lines_end_with_lf_or_crlf_or_both_mixed() {
    assert_eq!(fields("a,b\r\n1,2\n3,4\r\n5,6"), [["a", "b"], ["1", "2"], ["3", "4"], ["5", "6"]]);
}

#[test]
fn a_cr_without_lf_is_content() {
    assert_eq!(fields("a\rb,c\n\"x\r\",y\n1,z\r"), [["a\rb", "c"], ["x\r", "y"], ["1", "z\r"]]);
    assert_eq!(fields("1,\"x\r\"\r\n"), [["1", "x\r"]]);
}

#[test]
fn a_record_knows_its_physical_line_and_its_bytes() {
    let text = "\u{feff}a,b\r\n\r\n\"x\r\ny\",2\n\n\n3,\"q\"\"\"\n";
    let records = split(text.as_bytes()).unwrap();
    let places: Vec<_> = records.iter().map(|(line, offset, raw, _)| (*line, *offset, raw.as_str())).collect();
    assert_eq!(places, [(1, 3, "a,b"), (3, 10, "\"x\r\ny\",2"), (7, 21, "3,\"q\"\"\"")]);
    assert_eq!(records[2].3, ["3", "q\""]);
}

#[test]
fn an_open_quote_names_the_line_where_it_opened() {
    for (text, line) in
        [("a,b\n1,\"x\n2,y\n", 2), ("a,b\n1,2\n\"x\ny\",\"z\nw", 4), ("a,b\n\"1\"\"\n\",\"", 3), ("\"", 1)]
    {
        match split(text.as_bytes()) {
            Err(SplitError::OpenQuote(found)) => assert_eq!(found, line, "{text:?}"),
            other => panic!("{text:?}: {other:?}"),
        }
    }
}

#[test]
fn a_field_that_continues_after_its_closing_quote_is_reported() {
    let well_quoted = |text: &str| Records::new(text.as_bytes()).unwrap().next_record().unwrap().unwrap().well_quoted;
    assert!(well_quoted("a,\"b\"\"c\",d\"e,\"\"\r\n"));
    assert!(!well_quoted("a,\"b\"c,d\n") && !well_quoted("\"7\"0\"\n"));
}

#[test]
fn a_cell_may_be_larger_than_the_buffer() {
    let long = "x".repeat(3 * BUFFER);
    let records = split(format!("a,b\n1,\"{long}\"\n2,y\n").as_bytes()).unwrap();
    assert_eq!((records[1].3[1].len(), records[2].0), (long.len(), 3));
}

#[test]
fn fields_beyond_the_limit_are_counted_and_the_first_are_kept() {
    for (fields, line_end) in [(MOST_COLUMNS, "\r\n"), (MOST_COLUMNS + 1, "\r\n"), (5 * MOST_COLUMNS + 7, "\n")] {
        let text = format!("h\na{}{line_end}b,c\r\n", ",x".repeat(fields - 1));
        let mut records = Records::new(text.as_bytes()).unwrap();
        assert_eq!(records.header().unwrap().unwrap().len(), 1);
        let record = records.next_record().unwrap().unwrap();
        assert_eq!((record.len(), record.fields().count()), (fields, MOST_COLUMNS));
        assert!(record.field(0) == b"a" && record.field(MOST_COLUMNS - 1) == b"x" && !record.raw.ends_with(b"\r"));
        assert_eq!(fields_of(record.raw).len(), MOST_COLUMNS);
        let record = records.next_record().unwrap().unwrap();
        assert_eq!((record.len(), record.field(1)), (2, &b"c"[..]));
    }
}

#[test]
fn a_header_that_is_too_long_is_not_read_to_its_end() {
    let long = "x".repeat(8 * LONGEST_HEADER);
    let mut source = io::Cursor::new(long);
    let header = Records::new(&mut source).unwrap().header().map(|_| ());
    assert!(matches!(header, Err(SplitError::TooLong(1, LONGEST_HEADER))), "{header:?}");
    assert!(source.position() <= 2 * LONGEST_HEADER as u64, "{}", source.position());
    let mut records = Records::new(&b"a,b\n"[..]).unwrap();
    assert_eq!(records.header().unwrap().unwrap().len(), 2);
    let with = |length: usize| Records::new(format!("{}\r\n", "x".repeat(length)).as_bytes()).unwrap().header().is_ok();
    assert!(with(LONGEST_HEADER) && !with(LONGEST_HEADER + 1));
}

#[test]
fn a_record_knows_how_many_blank_lines_come_before_it() {
    let mut records = Records::new(Trickle(b"\na\n\n\r\n\nb\nc\n\n")).unwrap();
    let mut blank = Vec::new();
    while let Some(record) = records.next_record().unwrap() {
        blank.push(record.blank_lines);
    }
    assert_eq!(blank, [1, 3, 0]);
}

#[test]
fn blank_lines_alone_are_not_records() {
    assert!(split(b"\n\r\n\n").unwrap().is_empty());
    assert!(split(b"").unwrap().is_empty());
}

proptest! {
    /// However a file is split, its records have the fields that the `csv` crate finds in it.
    #[test]
    fn records_are_those_of_the_csv_crate(rows in prop::collection::vec("[ab,é\"]{0,9}", 1..20), quoted in any::<bool>()) {
        let text = rows.join("\n");
        let text = if quoted { text } else { text.replace('"', "") };
        let whole = match split(text.as_bytes()) {
            Err(SplitError::OpenQuote(_)) => return Ok(()),
            other => other.unwrap(),
        };
        let mut others = ::csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .terminator(::csv::Terminator::Any(b'\n'))
            .from_reader(text.as_bytes());
        let others: Vec<Vec<String>> = others.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
        prop_assert_eq!(whole.iter().map(|record| &record.3).collect::<Vec<_>>(), others.iter().collect::<Vec<_>>());
        // At once, and byte by byte.
        let mut records = Records::new(text.as_bytes()).unwrap();
        for (line, offset, raw, fields) in whole {
            let record = records.next_record().unwrap().unwrap();
            prop_assert_eq!((record.line, record.offset, record.raw), (line, offset, raw.as_bytes()));
            let text = record.text().unwrap();
            let cells: Vec<&str> = (0..record.len()).map(|index| record.cell(text, index)).collect();
            prop_assert_eq!(cells, fields);
        }
        prop_assert!(records.next_record().unwrap().is_none());
    }

    /// What the `csv` crate writes is read back, and the byte ranges cut exactly the same records out of the file.
    #[test]
    fn what_is_written_is_read_back(
        rows in prop::collection::vec(prop::collection::vec("[a,\"\r\n é]{0,6}", 3), 1..20),
        crlf in any::<bool>(),
    ) {
        let terminator = if crlf { ::csv::Terminator::CRLF } else { ::csv::Terminator::Any(b'\n') };
        let mut writer = ::csv::WriterBuilder::new()
            .terminator(terminator)
            .quote_style(::csv::QuoteStyle::Always)
            .from_writer(Vec::new());
        for row in &rows {
            writer.write_record(row).unwrap();
        }
        let text = writer.into_inner().unwrap();
        let records = split(&text).unwrap();
        let mut line = 1;
        for (record, row) in records.iter().zip(&rows) {
            prop_assert_eq!(&record.3, row);
            prop_assert_eq!(record.0, line);
            let start = usize::try_from(record.1).unwrap();
            prop_assert_eq!(&text[start..start + record.2.len()], record.2.as_bytes());
            let again: Vec<String> = fields_of(record.2.as_bytes()).into_iter().map(|field| String::from_utf8(field).unwrap()).collect();
            prop_assert_eq!(&again, row);
            line += i64::try_from(record.2.matches('\n').count()).unwrap() + 1;
        }
        prop_assert_eq!(records.len(), rows.len());
    }
}
