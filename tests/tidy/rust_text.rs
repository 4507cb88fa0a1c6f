//! Rust as text: code without comments and literals, and words in it.
//!
//! Refuses to parse. Invariant: what is blanked keeps its place, so that lines can be counted.

/// The text with comments, strings and characters blanked, line by line where they were.
pub fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// The end of the comment, string or character that begins at `at`; `at` itself when none does.
pub fn literal_end(chars: &[char], at: usize) -> usize {
    let is = |place: usize, c: char| chars.get(place) == Some(&c);
    let find = |from: usize, test: &dyn Fn(usize) -> bool| (from..chars.len()).find(|&place| test(place));
    match chars[at] {
        '/' if is(at + 1, '/') => find(at, &|place| is(place, '\n')).unwrap_or(chars.len()),
        '/' if is(at + 1, '*') => {
            find(at + 2, &|place| is(place, '*') && is(place + 1, '/')).map_or(chars.len(), |p| p + 2)
        }
        'r' if !is_word(at.checked_sub(1).map(|before| chars[before]).filter(|&c| c != 'b')) => {
            let hashes = (at + 1..chars.len()).take_while(|&place| is(place, '#')).count();
            if !is(at + 1 + hashes, '"') {
                return at;
            }
            let closes = |place: usize| is(place, '"') && (1..=hashes).all(|n| is(place + n, '#'));
            find(at + 2 + hashes, &closes).map_or(chars.len(), |place| place + 1 + hashes)
        }
        '"' => quoted_end(chars, at, '"'),
        '\'' if is(at + 1, '\\') || is(at + 2, '\'') => quoted_end(chars, at, '\''),
        _ => at,
    }
}

pub fn quoted_end(chars: &[char], open: usize, quote: char) -> usize {
    let mut at = open + 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

pub fn is_word(c: Option<char>) -> bool {
    c.is_some_and(|c| c.is_alphanumeric() || c == '_')
}

/// Where `word` stands in `text` with no letter, digit or underscore beside it.
pub fn words<'t>(text: &'t str, word: &'t str) -> impl Iterator<Item = usize> + 't {
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let open_start = !is_word(word.chars().next()) || !is_word(text[..at].chars().next_back());
        let open_end = !is_word(word.chars().next_back()) || !is_word(text[at + word.len()..].chars().next());
        open_start && open_end
    })
}

pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

pub fn identifier(text: &str) -> &str {
    let text = text.trim_start();
    &text[..text.find(|c| !is_word(Some(c))).unwrap_or(text.len())]
}

#[test]
fn code_is_told_from_comments_and_literals() {
    let text = "a // b\n\"c \\\" d\" 'e' '\\'' r#\"f \" g\"# &'h i /* j\n */ k b\"l\" br\"m\" for_r\"n\"";
    let left = code(text);
    assert_eq!(left.matches('\n').count(), 2);
    let left: Vec<&str> = left.split_whitespace().collect();
    assert_eq!(left, ["a", "&'h", "i", "k", "b", "b", "for_r"]);
}
