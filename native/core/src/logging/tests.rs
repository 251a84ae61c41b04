use super::{CAPACITY, Line, Lines, filter};

fn line(message: usize) -> Line {
    Line { level: "INFO", target: String::new(), message: message.to_string(), time: 0.0, dropped: 0 }
}

#[test]
fn returns_lines_in_order() {
    let mut lines = Lines::default();
    lines.push(line(0));
    lines.push(line(1));
    assert_eq!(lines.pop().unwrap().message, "0");
    assert_eq!(lines.pop().unwrap().message, "1");
    assert!(lines.pop().is_none());
}

#[test]
fn drops_the_oldest_lines_and_counts_them_once() {
    let mut lines = Lines::default();
    (0..CAPACITY + 3).for_each(|index| lines.push(line(index)));
    let first = lines.pop().unwrap();
    assert_eq!((first.message.as_str(), first.dropped), ("3", 3));
    assert_eq!(lines.pop().unwrap().dropped, 0);
}

#[test]
fn rejects_a_filter_that_does_not_parse() {
    assert!(filter("warn,dynamo_llm=debug").is_ok());
    assert!(filter("dynamo_llm=loud").unwrap_err().message.starts_with("filter: "));
}
