//! Archives that unpack to far more than they are: refused before anything is read from them.

use std::io::{self, Read, Seek};

use zip::ZipArchive;
use zip::result::ZipError;

use super::workbook_error::WorkbookError;

/// How large a workbook and its parts may be when they are unpacked.
struct Limits {
    /// All of its parts together.
    total: u64,
    /// Each part that is not a sheet: such a part is read as a whole.
    part: u64,
    /// A text or an attribute. A cell has at most 32,767 characters.
    text: usize,
    /// How many parts there may be.
    parts: usize,
}

/// The most bytes to which a workbook may unpack.
pub(super) const LARGEST_WORKBOOK: u64 = 1024 * 1024 * 1024;

const LIMITS: Limits = Limits { total: LARGEST_WORKBOOK, part: 64 * 1024 * 1024, text: 1024 * 1024, parts: 10_000 };

/// Unpacks a workbook without keeping it, to see how large it is.
pub(super) fn check_workbook<F: Read + Seek>(file: &mut F) -> Result<(), WorkbookError> {
    check_within(file, &LIMITS)
}

fn check_within<F: Read + Seek>(file: &mut F, limits: &Limits) -> Result<(), WorkbookError> {
    let broken = |error: ZipError| match error {
        ZipError::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => WorkbookError::Read(error),
        _ => WorkbookError::Broken,
    };
    let mut archive = ZipArchive::new(file).map_err(broken)?;
    if archive.len() > limits.parts {
        return Err(WorkbookError::TooLarge);
    }
    let mut total = 0;
    for index in 0..archive.len() {
        let mut part = archive.by_index(index).map_err(broken)?;
        let name = part.name().map_err(broken)?.into_owned();
        let is_xml = [".xml", ".rels"].iter().any(|end| name.ends_with(end));
        let is_sheet = is_xml && name.starts_with("xl/worksheets/");
        let most = if is_sheet { limits.total - total } else { limits.part.min(limits.total - total) };
        total += check_part(&mut part, most, if is_xml { limits.text } else { usize::MAX })?;
    }
    Ok(())
}

/// The size of a part, no text of which is longer than that.
fn check_part(part: &mut impl Read, most: u64, longest_text: usize) -> Result<u64, WorkbookError> {
    let mut buffer = vec![0; 64 * 1024];
    let (mut size, mut since_tag) = (0, 0);
    loop {
        let length = part.read(&mut buffer).map_err(|_| WorkbookError::Broken)?;
        if length == 0 {
            return Ok(size);
        }
        size += length as u64;
        since_tag = match memchr::memrchr(b'<', &buffer[..length]) {
            Some(tag) => length - tag,
            None => since_tag + length,
        };
        if size > most || since_tag > longest_text {
            return Err(WorkbookError::TooLarge);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    const SMALL: Limits = Limits { total: 200_000, part: 2000, text: 100, parts: 3 };

    fn archive(parts: &[(&str, &[u8])]) -> Cursor<Vec<u8>> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in parts {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap()
    }

    fn is_too_large(parts: &[(&str, &[u8])]) -> bool {
        match check_within(&mut archive(parts), &SMALL) {
            Ok(()) => false,
            Err(WorkbookError::TooLarge) => true,
            Err(error) => panic!("{error:?}"),
        }
    }

    #[test]
    fn a_part_that_is_read_as_a_whole_is_bounded() {
        let text = b"<si>x</si>".repeat(100);
        assert!(!is_too_large(&[("xl/sharedStrings.xml", &text)]));
        assert!(is_too_large(&[("xl/sharedStrings.xml", &text.repeat(3))]));
        assert!(is_too_large(&[("xl/media/image.bmp", &text.repeat(3))]));
        assert!(!is_too_large(&[("xl/worksheets/sheet1.xml", &text.repeat(3))]));
        let sheet = text.repeat(150);
        assert!(is_too_large(&[("xl/worksheets/sheet1.xml", &sheet), ("xl/worksheets/sheet2.xml", &sheet)]));
        assert!(is_too_large(&[("a", b""), ("b", b""), ("c", b""), ("d", b"")]));
    }

    #[test]
    fn a_text_is_no_longer_than_a_cell_can_be() {
        let blanks = |count| [b"<v>".as_slice(), &vec![b' '; count], b"</v>"].concat();
        assert!(!is_too_large(&[("xl/worksheets/sheet1.xml", &blanks(90))]));
        assert!(is_too_large(&[("xl/worksheets/sheet1.xml", &blanks(66_000))]));
        assert!(!is_too_large(&[("xl/media/image.bmp", &blanks(110))]));
    }

    #[test]
    fn an_archive_that_is_cut_off_is_broken() {
        let mut bytes = archive(&[("xl/workbook.xml", b"<a/>")]).into_inner();
        bytes.truncate(bytes.len() / 2);
        assert!(matches!(check_workbook(&mut Cursor::new(bytes)), Err(WorkbookError::Broken)));
    }
}
