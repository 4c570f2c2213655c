//! `verify-audit`: is the log of one replica whole, as it lies on its volume?
//!
//! Promises: takes no lock and writes nothing, so a log is read while its operator writes it. What stands behind the last
//! line end of the newest segment is a row that is being written, or that a crash tore, and nobody was answered for it.
//!
//! Never add: a repair.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read as _, Write};
use std::path::Path;

use super::chain::Head;
use super::segment::{name, segments_in};
use super::verify::{Report, Verifier};

/// What a log was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every row stands in its place, as it was written.
    Whole,
    /// Some do not, or there is none.
    Flawed,
}

/// Reads the log in `directory`, which is to have the rows in `known` unless they were dropped as old, and tells `output`.
///
/// # Errors
/// When the log cannot be read, or nobody takes the answer.
pub fn inspect(directory: &Path, known: &[Head], output: &mut impl Write) -> io::Result<Verdict> {
    let mut verifier = Verifier::expecting(known.iter().copied());
    let mut segments = open(directory)?.into_iter().peekable();
    while let Some((first, mut file)) = segments.next() {
        if segments.peek().is_some() {
            verifier.segment(&name(first), BufReader::new(file))?;
            continue;
        }
        let mut lines = Vec::new();
        file.read_to_end(&mut lines)?;
        lines.truncate(lines.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1));
        verifier.segment(&name(first), lines.as_slice())?;
    }
    tell(&verifier.finish(), output)
}

/// The segments, oldest first.
fn open(directory: &Path) -> io::Result<Vec<(u64, File)>> {
    let mut segments = Vec::new();
    for first in segments_in(directory)? {
        match File::open(directory.join(name(first))) {
            Ok(file) => segments.push((first, file)),
            // Dropped as old meanwhile, and with it all that were older.
            Err(error) if error.kind() == ErrorKind::NotFound => segments.clear(),
            Err(error) => return Err(error),
        }
    }
    Ok(segments)
}

fn tell(report: &Report, output: &mut impl Write) -> io::Result<Verdict> {
    for finding in &report.findings {
        writeln!(output, "{}: line {}: {}", finding.segment, finding.line, finding.flaw)?;
    }
    match (report.after, report.last) {
        (Some(after), Some(last)) if report.findings.is_empty() => {
            let (rows, first) = (report.rows, after.seq + 1);
            writeln!(output, "{rows} rows, whole: {first} to {}; the head is {last}", last.seq)?;
            output.flush()?;
            return Ok(Verdict::Whole);
        }
        (Some(_), Some(_)) => writeln!(output, "{} rows, not whole", report.rows)?,
        _ => writeln!(output, "there is no row")?,
    }
    output.flush()?;
    Ok(Verdict::Flawed)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Scratch, intent};
    use super::*;

    fn ask(log: &Scratch, known: &[Head]) -> (Verdict, String) {
        let mut said = Vec::new();
        let verdict = inspect(&log.0, known, &mut said).unwrap();
        (verdict, String::from_utf8(said).unwrap())
    }

    #[tokio::test]
    async fn a_log_is_whole_while_it_is_written_and_each_tampering_is_told_with_its_line() {
        let scratch = Scratch::new();
        assert_eq!(ask(&scratch, &[]), (Verdict::Flawed, "there is no row\n".into()));
        let log = scratch.open();
        let mut head = None;
        for call in 0..4 {
            head = Some(log.intent(intent(call)).await.unwrap().head());
        }
        let head = head.unwrap();
        let whole = format!("{0} rows, whole: 1 to {0}; the head is {head}\n", head.seq);
        assert_eq!(ask(&scratch, &[head]), (Verdict::Whole, whole.clone()), "while it is open");
        assert_eq!(head.to_string().parse(), Ok(head));
        let path = scratch.segments()[0].clone();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let good = std::fs::read_to_string(&path).unwrap();
        let rows: Vec<&str> = good.lines().collect();
        let edited = rows[2].replace("api.stripe.com", "api.strine.com");
        // (what was done, the rows now, said of them)
        let table = [
            ("edited", [&rows[..2], &[&edited], &rows[3..]].concat(), "line 3: row 3 was edited"),
            ("cut out", [&rows[..2], &rows[3..]].concat(), "line 3: rows 3 to 3 are missing"),
            ("repeated", [&rows[..3], &rows[2..]].concat(), "line 4: row 3 stands after row 3"),
            ("head cut off", rows[1..].to_vec(), "line 1: the segment has lost its beginning"),
            ("tail cut off", rows[..4].to_vec(), "line 5: row 5, known from elsewhere, is not in the log"),
            ("junk put in", [&rows[..2], &["{}"], &rows[2..]].concat(), "line 3: not a row"),
        ];
        for (done, now, said) in table {
            std::fs::write(&path, now.join("\n") + "\n").unwrap();
            let (verdict, told) = ask(&scratch, &[head]);
            assert_eq!(verdict, Verdict::Flawed, "{done}: {told}");
            assert!(told.starts_with(&format!("{name}: {said}\n")), "{done}: {told}");
            assert!(told.ends_with(" rows, not whole\n"), "{done}: {told}");
        }
        // The next row, half written.
        std::fs::write(&path, format!("{good}{}", &rows[3][..100])).unwrap();
        assert_eq!(ask(&scratch, &[head]), (Verdict::Whole, whole));
    }
}
