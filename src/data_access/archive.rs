//! Archives are recognized by their bytes, not by their name: gzip (RFC 1952), zstd (RFC 8878), or plain.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;
use zstd::stream::raw::{Decoder, Operation as _};

use crate::error::{Error, Reason};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// A zstd frame that holds something other than content begins with one of these 16 numbers.
const SKIPPABLE: std::ops::RangeInclusive<u32> = 0x184d_2a50..=0x184d_2a5f;
/// The largest window that `zstd` itself unpacks by default. The decoder needs this much memory.
const LARGEST_WINDOW: u64 = 128 * MEGABYTE;
const MEGABYTE: u64 = 1024 * 1024;
const BUFFER: usize = 256 * 1024;

/// Archives that are not unpacked: the bytes that they begin with, and their names.
const UNREAD: [(&[u8], &str); 6] = [
    (b"PK\x03\x04", "a zip archive (or a workbook)"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x04\x22\x4d\x18", "an lz4 archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\x1f\x9d", "a .Z archive of compress"),
];
/// The bytes after the compression level in a bzip2 archive. Plain text may also begin with `BZh`.
const BZIP2_BLOCK: &[u8] = b"\x31\x41\x59\x26\x53\x59";
const LONGEST_MAGIC: u64 = 10;

/// The content of a file, unpacked.
pub struct Unpacked<'a> {
    /// The plain bytes.
    pub plain: Box<dyn Read + Send + 'a>,
    /// Whether they were packed.
    pub packed: bool,
    /// If the plain bytes look like an archive that is not unpacked, its name.
    pub unread: Option<&'static str>,
}

/// Unpacks `source`, whichever way it is packed. Messages call it `name`. Returns `None` if it is empty.
///
/// # Errors
/// The errors of the first read of `source`.
pub fn unpacked<'a>(source: impl Read + Send + 'a, name: &str) -> io::Result<Option<Unpacked<'a>>> {
    let mut source = BufReader::with_capacity(BUFFER, source);
    let mut magic = Vec::new();
    // A body may arrive byte by byte, so a single look into the buffer could see too little.
    source.by_ref().take(LONGEST_MAGIC).read_to_end(&mut magic)?;
    if magic.is_empty() {
        return Ok(None);
    }
    let unread = UNREAD.iter().find(|(begin, _)| begins(&magic, begin)).map(|(_, form)| *form);
    let (is_gzip, is_zstd) = (magic.starts_with(&GZIP), magic.first_chunk().is_some_and(|magic| is_frame(*magic)));
    let whole = io::Cursor::new(magic).chain(source);
    let plain: Box<dyn Read + Send + 'a> = if is_gzip {
        Box::new(GzipMembers(Some(GzDecoder::new(whole))))
    } else if is_zstd {
        Box::new(ZstdFrames::new(whole, name)?)
    } else {
        Box::new(whole)
    };
    Ok(Some(Unpacked { plain, packed: is_gzip || is_zstd, unread }))
}

fn begins(magic: &[u8], begin: &[u8]) -> bool {
    magic.starts_with(begin) && (begin != b"BZh" || magic.ends_with(BZIP2_BLOCK))
}

fn is_frame(magic: [u8; 4]) -> bool {
    magic == ZSTD || SKIPPABLE.contains(&u32::from_le_bytes(magic))
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The members of a gzip file, one after another. Zeros after the last member are not an error: tapes and block devices
/// pad with them.
struct GzipMembers<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.0 {
            let length = member.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            let Some(mut rest) = self.0.take().map(GzDecoder::into_inner) else { break };
            match rest.fill_buf()?.first() {
                None => break,
                Some(0) => only_zeros(rest)?,
                Some(_) => self.0 = Some(GzDecoder::new(rest)),
            }
        }
        Ok(0)
    }
}

fn only_zeros(mut source: impl BufRead) -> io::Result<()> {
    loop {
        let bytes = source.fill_buf()?;
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.iter().any(|byte| *byte != 0) {
            return Err(broken("data other than zeros follows its end"));
        }
        let length = bytes.len();
        source.consume(length);
    }
}

/// The frames of a zstd file, one after another. Frames without content are skipped wherever they are.
struct ZstdFrames<R> {
    source: R,
    name: String,
    decoder: Decoder<'static>,
    /// The bytes of the current frame's header that the decoder has not read yet.
    header: Vec<u8>,
    in_frame: bool,
}

impl<R: BufRead> ZstdFrames<R> {
    fn new(source: R, name: &str) -> io::Result<Self> {
        Ok(Self { source, name: name.to_owned(), decoder: Decoder::new()?, header: Vec::new(), in_frame: false })
    }

    /// Moves to the content of the next frame that has any. Returns false at the end.
    fn begin_frame(&mut self) -> io::Result<bool> {
        loop {
            let magic = self.take(ZSTD.len() as u64)?;
            if magic.is_empty() {
                return Ok(false);
            }
            if magic == ZSTD {
                self.header = magic;
                self.read_header()?;
                self.in_frame = true;
                return Ok(true);
            }
            if !magic.first_chunk().is_some_and(|magic| is_frame(*magic)) {
                return Err(broken("the bytes after its last frame are not a frame"));
            }
            let length = u64::from(u32::from_le_bytes(self.exactly()?));
            if io::copy(&mut self.source.by_ref().take(length), &mut io::sink())? < length {
                return Err(incomplete());
            }
        }
    }

    /// Reads the header of a frame (RFC 8878, 3.1.1.1). Refuses what this program cannot unpack.
    fn read_header(&mut self) -> io::Result<()> {
        let [descriptor] = self.exactly()?;
        self.header.push(descriptor);
        let is_single = descriptor & 0b10_0000 != 0;
        let window = if is_single { Vec::new() } else { self.exactly::<1>()?.to_vec() };
        let dictionary = self.take([0, 1, 2, 4][usize::from(descriptor & 0b11)])?;
        let size_length = [u64::from(is_single), 2, 4, 8][usize::from(descriptor >> 6)];
        let size = self.take(size_length)?;
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        let needed = match window[..] {
            [window] => {
                let base = 1_u64 << (10 + (window >> 3));
                base + base / 8 * u64::from(window & 0b111)
            }
            _ => number(&size) + if size_length == 2 { 256 } else { 0 },
        };
        if needed > LARGEST_WINDOW {
            let (needed, most) = (needed.div_ceil(MEGABYTE), LARGEST_WINDOW / MEGABYTE);
            let name = &self.name;
            return Err(refused(format!(
                "{name}: unpacking it needs a window of {needed} MiB, more than the limit of {most} MiB; pack it without --long, \
                 with --long=27 at most, or with gzip"
            )));
        }
        if number(&dictionary) > 0 {
            let name = &self.name;
            return Err(refused(format!(
                "{name}: it is packed with a dictionary, which the file does not contain; pack it without one"
            )));
        }
        for part in [window, dictionary, size] {
            self.header.extend(part);
        }
        Ok(())
    }

    /// Returns the next bytes, fewer only at the end.
    fn take(&mut self, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.source.by_ref().take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn exactly<const LENGTH: usize>(&mut self) -> io::Result<[u8; LENGTH]> {
        self.take(LENGTH as u64)?.try_into().map_err(|_| incomplete())
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !buffer.is_empty() && (self.in_frame || self.begin_frame()?) {
            let is_header = !self.header.is_empty();
            let input = if is_header { &self.header } else { self.source.fill_buf()? };
            let ended = input.is_empty();
            let status = self.decoder.run_on_buffers(input, buffer)?;
            if is_header {
                self.header.drain(..status.bytes_read);
            } else {
                self.source.consume(status.bytes_read);
            }
            self.in_frame = status.remaining > 0;
            if status.bytes_written > 0 {
                return Ok(status.bytes_written);
            }
            if ended && self.in_frame {
                return Err(incomplete());
            }
        }
        Ok(0)
    }
}

fn incomplete() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "incomplete frame")
}

/// The error for an archive that may be intact but that this program does not unpack.
fn refused(message: String) -> io::Error {
    io::Error::other(Error::file(Reason::Malformed, message))
}

/// A reader that also copies every byte to a second place.
pub struct Tee<R, W> {
    source: R,
    copy: W,
}

impl<R: Read, W: io::Write> Tee<R, W> {
    /// Creates a reader of `source` that writes the same bytes to `copy`.
    pub fn new(source: R, copy: W) -> Self {
        Self { source, copy }
    }
}

impl<R: Read, W: io::Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.copy.write_all(&buffer[..length])?;
        Ok(length)
    }
}

/// Unpacks a whole archive into memory; for tests.
#[cfg(test)]
fn read_all(bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let Some(mut unpacked) = unpacked(bytes, "a.csv")? else { return Ok(None) };
    let mut text = Vec::new();
    unpacked.plain.read_to_end(&mut text)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(text).unwrap();
        gzip.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        zstd::encode_all(text, 1).unwrap()
    }

    /// A frame without content, which begins with one of the 16 numbers.
    fn skippable(nth: u8, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap().to_le_bytes();
        [&[0x50 + nth, 0x2a, 0x4d, 0x18], &length[..], content].concat()
    }

    #[test]
    fn plain_gzip_and_zstd_are_recognized_by_their_bytes() {
        let text = b"a,b\n1,2\n";
        for packed in [text.to_vec(), gzip(text), zstd(text)] {
            assert_eq!(read_all(&packed).unwrap().unwrap(), text);
        }
    }

    #[test]
    fn several_members_or_frames_are_one_file() {
        for packed in
            [[gzip(b"a\n"), gzip(b""), gzip(b"1\n")].concat(), [zstd(b"a\n"), zstd(b""), zstd(b"1\n")].concat()]
        {
            assert_eq!(read_all(&packed).unwrap().unwrap(), b"a\n1\n");
        }
    }

    #[test]
    fn an_archive_that_is_cut_anywhere_is_an_error_and_not_a_short_file() {
        let text: Vec<u8> = (0..10_000_u32).flat_map(u32::to_le_bytes).collect();
        for packed in [gzip(&text), zstd(&text), [skippable(0, b"1234"), zstd(&text)].concat()] {
            // After a complete skippable frame the file may end: then it is a file without content.
            for end in (4..12).chain(13..40).chain([packed.len() / 2, packed.len() - 3, packed.len() - 1]) {
                assert!(read_all(&packed[..end]).is_err(), "{end} of {}", packed.len());
            }
        }
        assert_eq!(read_all(b"").unwrap(), None);
        assert_eq!(read_all(b"a").unwrap().unwrap(), b"a");
    }

    #[test]
    fn frames_without_content_are_skipped_wherever_they_are() {
        let frames = |nth| {
            let skip = skippable(nth, &[nth; 300]);
            [&skip[..], &zstd(b"a\n"), &skip, &skippable(nth, b""), &zstd(b"1\n"), &skip].concat()
        };
        for nth in 0..16 {
            assert_eq!(read_all(&frames(nth)).unwrap().unwrap(), b"a\n1\n", "{nth}");
        }
        assert_eq!(read_all(&skippable(0, b"x")).unwrap().unwrap(), b"");
    }

    #[test]
    fn zeros_after_the_last_member_are_padding_and_anything_else_is_damage() {
        let padded = |after: &[u8]| read_all(&[&gzip(b"a\n"), after].concat());
        for length in [1, 511, 3 * BUFFER] {
            assert_eq!(padded(&vec![0; length]).unwrap().unwrap(), b"a\n");
        }
        assert!(padded(b"\0\0x").is_err() && padded(b"x").is_err());
        assert!(padded(&[vec![0; BUFFER], gzip(b"1\n")].concat()).is_err());
        assert!(read_all(&[zstd(b"a\n"), vec![0; 4]].concat()).is_err());
    }

    #[test]
    fn a_window_that_is_too_large_is_reported_in_any_frame() {
        let with_window = |log: u32, text: &[u8]| {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(read_all(&with_window(27, b"a\n")).unwrap().unwrap(), b"a\n");
        for packed in [with_window(31, b"a\n"), [zstd(b"a\n"), with_window(31, b"1\n")].concat()] {
            let message = read_all(&packed).unwrap_err().to_string();
            assert!(message.contains("a window of 2048 MiB, more than the limit of 128 MiB"), "{message}");
        }
        // A frame with a single segment. Its window is as large as its content.
        let single = [&ZSTD[..], &[0b1010_0000], &(300 * 1024 * 1024_u32).to_le_bytes()].concat();
        assert!(read_all(&single).unwrap_err().to_string().contains("a window of 300 MiB"));
    }

    #[test]
    fn a_frame_that_needs_a_dictionary_says_so() {
        let with_dictionary = [&ZSTD[..], &[0b1], &[0x58], &[7], &[0; 20]].concat();
        assert!(read_all(&with_dictionary).unwrap_err().to_string().contains("packed with a dictionary"));
    }

    #[test]
    fn archives_that_are_not_unpacked_are_reported_by_name() {
        let form = |bytes: &[u8]| unpacked(bytes, "a.csv").unwrap().unwrap().unread;
        assert_eq!(form(b"PK\x03\x04\x14\0"), Some("a zip archive (or a workbook)"));
        assert_eq!(form(b"BZh91AY&SYabc"), Some("a bzip2 archive"));
        assert_eq!((form(b"BZh,a,b,c,d,e"), form(b"a,b\n"), form(&gzip(b"PK\x03\x04"))), (None, None, None));
    }
}
