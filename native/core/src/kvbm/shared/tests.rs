use std::panic::{AssertUnwindSafe, catch_unwind};

use super::for_each_catching;

#[test]
fn visits_all_and_then_goes_on_with_the_first_panic() {
    let mut visited = Vec::new();
    let panic = catch_unwind(AssertUnwindSafe(|| {
        for_each_catching(0..4, |index| {
            visited.push(index);
            assert!(index % 2 == 0, "odd {index}");
        });
    }));
    assert_eq!(visited, [0, 1, 2, 3]);
    assert_eq!(panic.unwrap_err().downcast_ref::<String>().unwrap(), "odd 1");
}

#[test]
fn returns_when_none_panics() {
    let mut sum = 0;
    for_each_catching([1, 2], |number| sum += number);
    assert_eq!(sum, 3);
}
