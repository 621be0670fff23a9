//! Checks the size of the parts of a Parquet file that are read whole: the footer, and each page of a column. The
//! reader allocates them without a limit, and a small file may claim gigabytes.
//!
//! Both are written in the compact protocol of Thrift: <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use ::parquet::basic::Encoding;
use ::parquet::file::metadata::ColumnChunkMetaData;

use super::csv::MOST_COLUMNS;

/// The bytes that end each file, after the length of the footer.
const MAGIC: [u8; 4] = *b"PAR1";
const ENCRYPTED: [u8; 4] = *b"PARE";
const LONGEST_FOOTER: u64 = 32 * MEGABYTE;
/// The most memory for the pages of all columns that are read, unpacked, counting the largest page of each.
const MOST_PAGES: u64 = 512 * MEGABYTE;
/// The most memory for the rows that are read at once.
const MOST_ROWS: u64 = 64 * MEGABYTE;
/// In a larger page of values written as differences, any value may be as long as the page.
const SMALL_PAGE: u64 = 4 * MEGABYTE;
const MEGABYTE: u64 = 1024 * 1024;
const LONGEST_PAGE_HEADER: usize = 16 * 1024 * 1024;
const DEEPEST: usize = 16;

/// Reads the end of a file. Refuses a footer that is too large to read.
///
/// # Errors
/// What is wrong, without the name of the file.
pub(super) fn check_footer(file: &File) -> io::Result<Result<(), String>> {
    let broken = || Ok(Err("this is not a Parquet file, or it is cut off; send it again".to_owned()));
    let length = file.metadata()?.len();
    let mut end = [0; 8];
    if length < 12 {
        return broken();
    }
    bytes_at(file, length - 8)?.read_exact(&mut end)?;
    let [size @ .., m0, m1, m2, m3] = end;
    match [m0, m1, m2, m3] {
        MAGIC => {}
        ENCRYPTED => return Ok(Err("the file is encrypted, and no key for it is known; write it in the clear".into())),
        _ => return broken(),
    }
    let size = u64::from(u32::from_le_bytes(size));
    if size > LONGEST_FOOTER {
        let (size, most) = (size.div_ceil(MEGABYTE), LONGEST_FOOTER / MEGABYTE);
        return Ok(Err(format!(
            "its footer has {size} MiB, more than the limit of {most} MiB; write fewer and larger row groups, or several files"
        )));
    }
    let Some(start) = (length - 8).checked_sub(size) else { return broken() };
    let mut footer = vec![0; usize::try_from(size).unwrap_or_default()];
    bytes_at(file, start)?.read_exact(&mut footer)?;
    let mut elements = 0_u64;
    let mut note = |path: (i16, i16), value: i64| {
        if path == SCHEMA {
            elements = elements.saturating_add(value.unsigned_abs());
        }
    };
    if Compact(&footer).structure(0, DEEPEST, &mut note).is_none() {
        return broken();
    }
    // The first element is the root.
    let columns = elements.saturating_sub(1);
    if columns > MOST_COLUMNS as u64 {
        return Ok(Err(format!(
            "the file has {columns} columns, counting nested ones, more than the limit of {MOST_COLUMNS}; leave some out"
        )));
    }
    Ok(Ok(()))
}

/// What a file has from a place on. Everybody who reads the file goes to their place first.
fn bytes_at(mut file: &File, offset: u64) -> io::Result<&File> {
    file.seek(SeekFrom::Start(offset))?;
    Ok(file)
}

/// `FileMetaData.schema`, as struct and field.
const SCHEMA: (i16, i16) = (0, 2);
/// `PageHeader.uncompressed_page_size` and `compressed_page_size`.
const UNPACKED: (i16, i16) = (0, 2);
const PACKED: (i16, i16) = (0, 3);
/// `DataPageHeader.num_values` and `DataPageHeaderV2.num_values`.
const VALUES: [(i16, i16); 2] = [(5, 1), (8, 1)];
/// `DictionaryPageHeader.num_values`.
const ENTRIES: (i16, i16) = (7, 1);

/// How much memory the pages of the columns need that are read together.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// For the current column: its largest page, its largest dictionary, and the most bytes of one row in a page.
    page: u64,
    dictionary: u64,
    row: u64,
    /// The sums over the columns before.
    together: u64,
    rows: u64,
}

impl Pages {
    /// Looks through all pages of one column in one row group. Returns `None` if they are damaged.
    pub(super) fn add_chunk(&mut self, file: &File, chunk: &ColumnChunkMetaData) -> io::Result<Option<()>> {
        // Nothing is read of a group without rows, and writers name no place for its pages.
        if chunk.num_values() == 0 {
            return Ok(Some(()));
        }
        let offset = chunk.dictionary_page_offset().filter(|offset| *offset > 0).unwrap_or(chunk.data_page_offset());
        let start = u64::try_from(offset.min(chunk.data_page_offset())).ok();
        let Some((start, length)) = start.zip(u64::try_from(chunk.compressed_size()).ok()) else { return Ok(None) };
        let as_differences = chunk.encodings().any(|encoding| encoding == Encoding::DELTA_BYTE_ARRAY);
        let (mut position, end) = (start, start.saturating_add(length));
        while position < end {
            let Some(page) = PageHeader::read(file, position, end)? else { return Ok(None) };
            if page.is_dictionary {
                self.dictionary = self.dictionary.max(page.unpacked);
            } else {
                let row = if as_differences && page.unpacked > SMALL_PAGE {
                    page.unpacked
                } else {
                    page.unpacked / page.values.max(1)
                };
                (self.page, self.row) = (self.page.max(page.unpacked), self.row.max(row));
            }
            position = position.saturating_add(page.length);
        }
        Ok(Some(()))
    }

    /// Moves on to the next column.
    pub(super) fn end_column(&mut self) {
        let Self { page, dictionary, row, together, rows } = std::mem::take(self);
        *self = Self {
            together: together.saturating_add(page + dictionary),
            rows: rows.saturating_add(row),
            ..Self::default()
        };
    }

    /// Refuses pages that do not fit into memory together.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.together <= MOST_PAGES {
            return Ok(());
        }
        let (pages, most) = (self.together.div_ceil(MEGABYTE), MOST_PAGES / MEGABYTE);
        Err(format!(
            "the largest pages of its columns need {pages} MiB together, more than the limit of {most} MiB; write smaller pages"
        ))
    }

    /// Returns how many rows to read at once, at most `most`.
    pub(super) fn rows_at_once(&self, most: usize) -> usize {
        let fit = MOST_ROWS / self.rows.max(1);
        usize::try_from(fit).unwrap_or(most).clamp(1, most)
    }
}

/// The parts of a page header that are needed.
struct PageHeader {
    /// The length in bytes of header and page together.
    length: u64,
    unpacked: u64,
    values: u64,
    is_dictionary: bool,
}

impl PageHeader {
    fn read(file: &File, position: u64, end: u64) -> io::Result<Option<Self>> {
        let mut size = 1024;
        loop {
            let mut bytes = Vec::with_capacity(size);
            let read = bytes_at(file, position)?.take(size as u64).read_to_end(&mut bytes)?;
            if let Some(page) = Self::parse(&bytes) {
                let fits = page.length > 0 && position.checked_add(page.length).is_some_and(|next| next <= end);
                return Ok(fits.then_some(page));
            }
            if read < size || size >= LONGEST_PAGE_HEADER {
                return Ok(None);
            }
            size *= 8;
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut page = Self { length: 0, unpacked: 0, values: 0, is_dictionary: false };
        let mut packed = None;
        let mut compact = Compact(bytes);
        let mut note = |path, value: i64| {
            let value = u64::try_from(value).unwrap_or(u64::MAX);
            match path {
                UNPACKED => page.unpacked = page.unpacked.max(value),
                PACKED => packed = Some(value),
                ENTRIES => page.is_dictionary = true,
                path if VALUES.contains(&path) => page.values = value,
                _ => {}
            }
        };
        compact.structure(0, DEEPEST, &mut note)?;
        let header = (bytes.len() - compact.0.len()) as u64;
        page.length = header.checked_add(packed?)?;
        Some(page)
    }
}

/// Bytes in the compact protocol, from the present position.
struct Compact<'a>(&'a [u8]);

impl Compact<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn skip(&mut self, length: u64) -> Option<()> {
        self.0 = self.0.get(usize::try_from(length).ok()?..)?;
        Some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// Reads a signed whole number; its lowest bit is its sign.
    fn zigzag(&mut self) -> Option<i64> {
        let number = self.varint()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// Walks through a struct that is field `of` of another one. Calls `note` with each whole number and the length of
    /// each list, together with struct and field. Returns `None` if the bytes end too early or are not such a struct.
    fn structure(&mut self, of: i16, depth: usize, note: &mut dyn FnMut((i16, i16), i64)) -> Option<()> {
        let mut field: i16 = 0;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            field = match head >> 4 {
                0 => i16::try_from(self.zigzag()?).ok()?,
                delta => field.checked_add(delta.into())?,
            };
            if field <= 0 {
                return None;
            }
            // A boolean is encoded in the type itself.
            if !matches!(head & 0xf, 1 | 2) {
                self.value(head & 0xf, (of, field), depth, note)?;
            }
        }
    }

    fn value(&mut self, kind: u8, path: (i16, i16), depth: usize, note: &mut dyn FnMut((i16, i16), i64)) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            1..=3 => self.skip(1),
            4..=6 => {
                note(path, self.zigzag()?);
                Some(())
            }
            7 => self.skip(8),
            8 => {
                let length = self.varint()?;
                self.skip(length)
            }
            9 | 10 => {
                let head = self.byte()?;
                let length = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
                note(path, i64::try_from(length).ok()?);
                (0..length).try_for_each(|_| self.value(head & 0xf, IN_A_LIST, depth, note))
            }
            11 => {
                let length = self.varint()?;
                let kinds = if length > 0 { self.byte()? } else { 0 };
                (0..length).try_for_each(|_| {
                    self.value(kinds >> 4, IN_A_LIST, depth, note)?;
                    self.value(kinds & 0xf, IN_A_LIST, depth, note)
                })
            }
            12 => self.structure(path.1, depth, note),
            13 => self.skip(16),
            _ => None,
        }
    }
}

/// The struct and field of an element of a list. None of the fields that are looked for is in a list.
const IN_A_LIST: (i16, i16) = (-1, -1);

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields 2 and 3 are numbers, field 5 is a struct with number 7 and text "ab", and field 6 is a list of two
    /// booleans.
    const HEADER: [u8; 17] =
        [0x25, 0x80, 0x02, 0x15, 0x0a, 0x2c, 0x15, 0x0e, 0x18, 0x02, b'a', b'b', 0x00, 0x19, 0x21, 0x01, 0x02];

    #[test]
    fn a_struct_is_walked_to_its_end() {
        let mut bytes = HEADER.to_vec();
        bytes.extend([0x00, 0xff]);
        let mut found = Vec::new();
        let mut compact = Compact(&bytes);
        compact.structure(0, DEEPEST, &mut |path, value| found.push((path, value))).unwrap();
        assert_eq!(compact.0, [0xff]);
        assert_eq!(found, [((0, 2), 128), ((0, 3), 5), ((5, 1), 7), ((0, 6), 2)]);
        for end in 0..=HEADER.len() {
            assert!(Compact(&bytes[..end]).structure(0, DEEPEST, &mut |_, _| ()).is_none(), "{end}");
        }
    }

    #[test]
    fn endlessly_nested_bytes_are_refused() {
        assert!(Compact(&[0x1c; 1000]).structure(0, DEEPEST, &mut |_, _| ()).is_none());
    }

    #[test]
    fn as_many_rows_are_read_at_once_as_fit() {
        let rows = |row| {
            let mut pages = Pages { page: row, row, ..Pages::default() };
            pages.end_column();
            pages.rows_at_once(64)
        };
        assert_eq!([rows(0), rows(100), rows(2 * MEGABYTE), rows(200 * MEGABYTE)], [64, 64, 32, 1]);
        let mut pages = Pages { page: MOST_PAGES, dictionary: 1, ..Pages::default() };
        pages.end_column();
        assert!(pages.check().unwrap_err().contains("513 MiB"));
    }
}
