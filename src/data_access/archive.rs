//! Archives are told by their bytes, not by their name: gzip (RFC 1952), zstd (RFC 8878), or plain.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const BUFFER: usize = 256 * 1024;

/// The plain bytes of `source`, whatever it is packed with. `None` when it has no bytes at all.
///
/// # Errors
/// What `source` answers to the first read.
pub fn unpacked<'a>(source: impl Read + Send + 'a) -> io::Result<Option<Box<dyn Read + Send + 'a>>> {
    let mut source = BufReader::with_capacity(BUFFER, source);
    let mut magic = Vec::with_capacity(ZSTD.len());
    // A body may arrive byte by byte, so that one look into the buffer could be too short.
    source.by_ref().take(ZSTD.len() as u64).read_to_end(&mut magic)?;
    if magic.is_empty() {
        return Ok(None);
    }
    let is_gzip = magic.starts_with(&GZIP);
    let is_zstd = magic == ZSTD;
    let whole = io::Cursor::new(magic).chain(source);
    if is_gzip {
        return Ok(Some(Box::new(MultiGzDecoder::new(whole))));
    }
    if is_zstd {
        return Ok(Some(Box::new(zstd::Decoder::with_buffer(whole)?)));
    }
    Ok(Some(Box::new(whole)))
}

/// Copies every byte that passes to a second place.
pub struct Tee<R, W> {
    source: R,
    copy: W,
}

impl<R: Read, W: io::Write> Tee<R, W> {
    /// Reads from `source` and writes the same bytes to `copy`.
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

/// Reads a whole archive in memory; for tests.
#[cfg(test)]
fn read_all(bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let Some(mut plain) = unpacked(bytes)? else { return Ok(None) };
    let mut text = Vec::new();
    plain.read_to_end(&mut text)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn plain_gzip_and_zstd_are_told_by_their_bytes() {
        let text = b"a,b\n1,2\n";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(text).unwrap();
        for packed in [text.to_vec(), gzip.finish().unwrap(), zstd::encode_all(&text[..], 1).unwrap()] {
            assert_eq!(read_all(&packed).unwrap().unwrap(), text);
        }
    }

    #[test]
    fn two_gzip_members_are_one_file() {
        let member = |text: &[u8]| {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            gzip.write_all(text).unwrap();
            gzip.finish().unwrap()
        };
        let packed = [member(b"a\n"), member(b"1\n")].concat();
        assert_eq!(read_all(&packed).unwrap().unwrap(), b"a\n1\n");
    }

    #[test]
    fn a_cut_archive_is_an_error_and_not_a_short_file() {
        let packed = zstd::encode_all(&[b'x'; 10_000][..], 1).unwrap();
        assert!(read_all(&packed[..packed.len() - 3]).is_err());
        assert_eq!(read_all(b"").unwrap(), None);
        assert_eq!(read_all(b"a").unwrap().unwrap(), b"a");
    }
}
