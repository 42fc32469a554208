//! The tar reader over arbitrary bytes: it never panics, ends, and accounts for every byte it read, as raw bytes or as
//! data. What it read and the writer can hold, the writer writes so that it reads the same.
#![no_main]

use archive::tar::{Reader, Writer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut reader = Reader::new(bytes);
    let (mut raw, mut data) = (0, 0);
    let mut headers = Vec::new();
    while let Ok(Some(entry)) = reader.next_entry() {
        raw += reader.raw().len();
        reader.raw().clear();
        while let Ok(chunk) = reader.chunk() {
            let len = chunk.len();
            if len == 0 {
                break;
            }
            reader.consume(len);
            data += len;
        }
        if entry.fragments.is_none() {
            headers.push(entry.header);
        }
    }
    raw += reader.raw().len();
    assert_eq!((raw + data) as u64, reader.offset());

    for mut header in headers {
        // Without data the size cannot be kept; the writer keeps whole seconds, and sorts attributes.
        header.size = 0;
        header.mtime.nanoseconds = 0;
        let mut writer = Writer::new(Vec::new());
        if writer.start(&header).is_err() {
            continue;
        }
        let written = writer.finish().expect("nothing is missing");
        let again = Reader::new(&written[..])
            .next_entry()
            .expect("written by us")
            .expect("one member");
        assert_eq!(again.header.name, header.name);
        assert_eq!(again.header.xattrs, header.xattrs);
        assert_eq!(
            (again.header.uid, again.header.gid),
            (header.uid, header.gid)
        );
        assert_eq!(again.header.mtime, header.mtime);
    }
});
