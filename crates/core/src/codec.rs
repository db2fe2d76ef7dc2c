//! Media as codes: what every codec is to the rest.

/// Codes of one picture or recording: for each place of a grid one code of each book, books innermost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codes {
    /// Size of the media: `[height, width]` in pixels, or `[samples]`.
    pub size: Vec<usize>,
    /// Places: `[rows, columns]`, or `[frames]`.
    pub grid: Vec<usize>,
    /// Codes of a place.
    pub books: usize,
    /// Local codes, row after row: `grid · books` of them.
    pub values: Vec<u32>,
}

/// Why media or codes cannot be coded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A code outside its book.
    #[error("code {code} of book {book} at place {place} is outside the book of {size}")]
    Code {
        /// The code.
        code: u32,
        /// Which book.
        book: usize,
        /// Which place of the grid.
        place: usize,
        /// Codes of the book.
        size: u32,
    },
    /// Sizes that do not belong together, or to this codec.
    #[error("{0}")]
    Shape(String),
    /// The computation failed.
    #[error("{0}")]
    Backend(String),
}

impl Codes {
    /// Refuses codes that are not those of a codec with these books: a wrong count, a code outside its book.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn check(&self, books: &[u32]) -> Result<(), CodecError> {
        let places = self.grid.iter().try_fold(1usize, |n, &m| n.checked_mul(m));
        let expected = places.and_then(|n| n.checked_mul(self.books));
        if self.books != books.len() || expected != Some(self.values.len()) {
            return Err(CodecError::Shape(format!(
                "{} codes for a grid of {:?} with {} books; this codec has {} books",
                self.values.len(),
                self.grid,
                self.books,
                books.len()
            )));
        }
        for (index, &code) in self.values.iter().enumerate() {
            let book = index % self.books;
            if code >= books[book] {
                return Err(CodecError::Code { code, book, place: index / self.books, size: books[book] });
            }
        }
        Ok(())
    }
}

/// Turns media into codes and back.
pub trait Codec {
    /// A picture, a recording.
    type Media;

    /// Size of each codebook.
    fn books(&self) -> &[u32];

    /// Bits that the codes of a place say at most.
    fn bits(&self) -> f64 {
        self.books().iter().map(|&book| f64::from(book).log2()).sum()
    }

    /// A vector for each code of a book: codes whose vectors are near stand for media that are alike.
    ///
    /// # Errors
    /// [`CodecError::Backend`].
    fn vectors(&self, book: usize) -> Result<Vec<Vec<f32>>, CodecError>;

    /// Codes of media.
    ///
    /// # Errors
    /// [`CodecError`].
    fn encode(&self, media: &Self::Media) -> Result<Codes, CodecError>;

    /// Media of codes.
    ///
    /// # Errors
    /// [`CodecError`], before anything is computed.
    fn decode(&self, codes: &Codes) -> Result<Self::Media, CodecError>;
}
