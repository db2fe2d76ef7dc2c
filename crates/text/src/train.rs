//! A tokenizer learned from texts.

use tokenizers::decoders::byte_level::ByteLevel as Decoder;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer as Library};

use crate::tokenizer::{Tokenizer, TokenizerError};

impl Tokenizer {
    /// Byte-level BPE (Sennrich, Haddow, Birch 2016, *Neural machine translation of rare words with subword units*; bytes as in
    /// GPT-2) with exactly `size` entries learned from texts, 256 of them the bytes, so that it can write anything; then special
    /// tokens, which only their ids name.
    ///
    /// # Errors
    /// [`TokenizerError::Learn`]: the texts do not give as many entries, and how many they give.
    pub fn learn(texts: &[String], size: usize, special: &[String]) -> Result<Self, TokenizerError> {
        let failed = |error: tokenizers::Error| TokenizerError::Encode(error.to_string());
        let mut library = Library::new(BPE::default());
        library.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
        library.with_decoder(Some(Decoder::new(false, true, true)));
        let trainer = BpeTrainerBuilder::new().vocab_size(size).min_frequency(1).show_progress(false);
        let mut trainer =
            TrainerWrapper::BpeTrainer(trainer.initial_alphabet(ByteLevel::alphabet().into_iter().collect()).build());
        if size > 0 {
            library.train(&mut trainer, texts.iter()).map_err(failed)?;
        }
        let found = library.get_vocab_size(false);
        if found != size {
            return Err(TokenizerError::Learn { found, size });
        }
        with_special(library, special)
    }

    /// The tokenizer with more special tokens, from the id `size` on, which is as many as it has.
    ///
    /// # Errors
    /// [`TokenizerError::Learn`]: it has another number of entries.
    pub fn with_special(&self, size: usize, special: &[String]) -> Result<Self, TokenizerError> {
        if self.vocab_size() != size {
            return Err(TokenizerError::Learn { found: self.vocab_size(), size });
        }
        with_special(self.library().clone(), special)
    }
}

fn with_special(mut library: Library, special: &[String]) -> Result<Tokenizer, TokenizerError> {
    let special: Vec<AddedToken> =
        special.iter().map(|name| AddedToken::from(name.clone(), true).normalized(false)).collect();
    library.add_special_tokens(&special);
    let json = library.to_string(false).map_err(|error| TokenizerError::Encode(error.to_string()))?;
    Tokenizer::from_json(json.as_bytes(), "a learned tokenizer")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{SkipSpecials, Specials};

    #[test]
    fn it_has_the_size_that_was_asked_for_and_writes_anything() {
        let texts: Vec<String> = ["red heart", "green heart", "red apple", "green apple"].map(String::from).to_vec();
        let special = ["<|begin|>", "<|end|>"].map(String::from);
        let tokenizer = Tokenizer::learn(&texts, 270, &special).unwrap();
        assert_eq!(tokenizer.vocab_size(), 272);
        assert_eq!(tokenizer.id("<|end|>").map(|id| id.0), Some(271));
        for text in ["red heart", "爱 <|end|>", "", " \n"] {
            let tokens = tokenizer.encode_plain(text).unwrap();
            assert!(tokens.iter().all(|token| token.0 < 270), "{text}");
            assert_eq!(tokenizer.decode(&tokens, SkipSpecials::No).unwrap(), text);
        }
        assert!(tokenizer.encode("red heart", Specials::Add).unwrap().len() < 9);
        let again = Tokenizer::learn(&texts, 270, &special).unwrap();
        assert_eq!(tokenizer.to_json().unwrap(), again.to_json().unwrap());
        let error = Tokenizer::learn(&texts, 5000, &special).unwrap_err().to_string();
        assert!(error.contains("5000"), "{error}");
    }
}
