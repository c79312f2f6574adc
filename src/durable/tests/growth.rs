use super::*;

const LIVE: u32 = 10_000;
/// Ten times all that lives at once. With a million the file is not larger.
const CHANGES: u32 = 200_000;

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

/// As sessions come and go.
#[tokio::test]
async fn the_file_stays_small_however_much_comes_and_goes() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let durable = open(&path).unwrap();
    let mut largest = 0;
    for change in 0..CHANGES / 2 {
        let _ = durable.put(Table::Sessions, &change.to_be_bytes(), Some(&[7; 100]));
        let last = durable.put(Table::Sessions, &change.wrapping_sub(LIVE).to_be_bytes(), None);
        if change % 1000 == 0 {
            written(&durable, last).await;
            largest = largest.max(length(&path));
        }
    }
    durable.close(BOUND).await.unwrap();
    assert!(largest < 4 << 20, "{largest} bytes for {LIVE} entries of 104");
    let durable = open(&path).unwrap();
    assert_eq!(entries(&durable, Table::Sessions).len(), LIVE as usize);
}

#[tokio::test]
async fn a_start_gives_back_what_a_larger_past_left_unused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let durable = open(&path).unwrap();
    let put = async |table, keys: u32, value: Option<&[u8]>| {
        for key in 0..keys {
            let _ = durable.put(table, &key.to_be_bytes(), value);
        }
        written(&durable, durable.write([])).await;
    };
    // What stays is at the end of the file.
    put(Table::Counts, 3000, Some(&[7; 10_000])).await;
    put(Table::Sessions, LIVE, Some(&[7; 100])).await;
    put(Table::Counts, 3000, None).await;
    durable.close(BOUND).await.unwrap();
    let before = length(&path);
    assert!(before > 16 << 20, "{before}");
    let durable = open(&path).unwrap();
    assert_eq!(entries(&durable, Table::Sessions).len(), LIVE as usize);
    assert!(entries(&durable, Table::Counts).is_empty());
    assert!(length(&path) < before / 4, "{} of {before}", length(&path));
    written(&durable, durable.put(Table::Sessions, b"more", Some(b"x"))).await;
    durable.close(BOUND).await.unwrap();
    assert_eq!(entries(&open(&path).unwrap(), Table::Sessions).len(), LIVE as usize + 1);
}
