//! The keywords of the language, and which of them are names as well.
//!
//! Source: `Lexer.g`, `Parser.g` and `reserved_keywords.txt` of Cassandra 4.1 and 5.0. A word that only a later version
//! knows is an ordinary name here.

use crate::ast::NativeType;

/// Where a keyword may stand as a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeywordClass {
    /// Nowhere without quotes.
    Reserved,
    /// Wherever a name may.
    Unreserved,
    /// As any name, but the name of a user type.
    Native,
    /// As any name, but the name of a function or (except KEY) of a user type.
    ColumnOnly,
}

macro_rules! keywords {
    ($($variant:ident $word:literal $class:ident,)*) => {
        /// A keyword; synonyms (`TABLE`, `COLUMNFAMILY`) are apart here and merged by the parser.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Keyword { $($variant,)* }

        /// In alphabetical order, which `FIRST` relies on.
        const KEYWORDS: &[Keyword] = &[$(Keyword::$variant,)*];

        /// Their words, side by side for the search.
        static WORDS: &[&str] = &[$($word,)*];

        impl Keyword {
            /// The word in upper case.
            pub const fn word(self) -> &'static str {
                match self { $(Keyword::$variant => $word,)* }
            }

            pub const fn class(self) -> KeywordClass {
                match self { $(Keyword::$variant => KeywordClass::$class,)* }
            }
        }
    };
}

keywords! {
    Access "ACCESS" Unreserved,
    Add "ADD" Reserved,
    Aggregate "AGGREGATE" Unreserved,
    Aggregates "AGGREGATES" Unreserved,
    All "ALL" Unreserved,
    Allow "ALLOW" Reserved,
    Alter "ALTER" Reserved,
    And "AND" Reserved,
    Ann "ANN" Unreserved,
    Apply "APPLY" Reserved,
    As "AS" Unreserved,
    Asc "ASC" Reserved,
    Ascii "ASCII" Native,
    Authorize "AUTHORIZE" Reserved,
    Batch "BATCH" Reserved,
    Begin "BEGIN" Reserved,
    Between "BETWEEN" Unreserved,
    Bigint "BIGINT" Native,
    Blob "BLOB" Native,
    Boolean "BOOLEAN" Native,
    By "BY" Reserved,
    Called "CALLED" Unreserved,
    Cast "CAST" ColumnOnly,
    Cidrs "CIDRS" Unreserved,
    Cluster "CLUSTER" Unreserved,
    Clustering "CLUSTERING" Unreserved,
    Columnfamilies "COLUMNFAMILIES" Unreserved,
    Columnfamily "COLUMNFAMILY" Reserved,
    Compact "COMPACT" Unreserved,
    Contains "CONTAINS" Unreserved,
    Count "COUNT" ColumnOnly,
    Counter "COUNTER" Native,
    Create "CREATE" Reserved,
    Custom "CUSTOM" Unreserved,
    Datacenters "DATACENTERS" Unreserved,
    Date "DATE" Native,
    Decimal "DECIMAL" Native,
    Default "DEFAULT" Unreserved,
    Delete "DELETE" Reserved,
    Desc "DESC" Reserved,
    Describe "DESCRIBE" Reserved,
    Distinct "DISTINCT" ColumnOnly,
    Double "DOUBLE" Native,
    Drop "DROP" Reserved,
    Duration "DURATION" Native,
    Entries "ENTRIES" Reserved,
    Execute "EXECUTE" Reserved,
    Exists "EXISTS" Unreserved,
    Filtering "FILTERING" Unreserved,
    Finalfunc "FINALFUNC" Unreserved,
    Float "FLOAT" Native,
    From "FROM" Reserved,
    Frozen "FROZEN" Unreserved,
    Full "FULL" Reserved,
    Function "FUNCTION" Unreserved,
    Functions "FUNCTIONS" Unreserved,
    Generated "GENERATED" Unreserved,
    Grant "GRANT" Reserved,
    Group "GROUP" Unreserved,
    Hashed "HASHED" Unreserved,
    Identity "IDENTITY" Unreserved,
    If "IF" Reserved,
    In "IN" Reserved,
    Index "INDEX" Reserved,
    Inet "INET" Native,
    Infinity "INFINITY" Reserved,
    Initcond "INITCOND" Unreserved,
    Input "INPUT" Unreserved,
    Insert "INSERT" Reserved,
    Int "INT" Native,
    Internals "INTERNALS" Unreserved,
    Into "INTO" Reserved,
    Is "IS" Reserved,
    Json "JSON" ColumnOnly,
    Key "KEY" ColumnOnly,
    Keys "KEYS" Unreserved,
    Keyspace "KEYSPACE" Reserved,
    Keyspaces "KEYSPACES" Unreserved,
    Language "LANGUAGE" Unreserved,
    Like "LIKE" Unreserved,
    Limit "LIMIT" Reserved,
    List "LIST" Unreserved,
    Login "LOGIN" Unreserved,
    Map "MAP" Unreserved,
    Masked "MASKED" Unreserved,
    Materialized "MATERIALIZED" Reserved,
    Maxwritetime "MAXWRITETIME" ColumnOnly,
    Mbean "MBEAN" Unreserved,
    Mbeans "MBEANS" Unreserved,
    Modify "MODIFY" Reserved,
    Nan "NAN" Reserved,
    Nologin "NOLOGIN" Unreserved,
    Norecursive "NORECURSIVE" Reserved,
    Nosuperuser "NOSUPERUSER" Unreserved,
    Not "NOT" Reserved,
    Null "NULL" Reserved,
    Of "OF" Reserved,
    On "ON" Reserved,
    Only "ONLY" Unreserved,
    Options "OPTIONS" Unreserved,
    Or "OR" Reserved,
    Order "ORDER" Reserved,
    Partition "PARTITION" Unreserved,
    Password "PASSWORD" Unreserved,
    Per "PER" Unreserved,
    Permission "PERMISSION" Unreserved,
    Permissions "PERMISSIONS" Unreserved,
    Primary "PRIMARY" Reserved,
    Rename "RENAME" Reserved,
    Replace "REPLACE" Unreserved,
    Returns "RETURNS" Unreserved,
    Revoke "REVOKE" Reserved,
    Role "ROLE" Unreserved,
    Roles "ROLES" Unreserved,
    Schema "SCHEMA" Reserved,
    Select "SELECT" Reserved,
    SelectMasked "SELECT_MASKED" Unreserved,
    Set "SET" Reserved,
    Sfunc "SFUNC" Unreserved,
    Smallint "SMALLINT" Native,
    Static "STATIC" Unreserved,
    Storage "STORAGE" Unreserved,
    Stype "STYPE" Unreserved,
    Superuser "SUPERUSER" Unreserved,
    Superusers "SUPERUSERS" Unreserved,
    Table "TABLE" Reserved,
    Tables "TABLES" Unreserved,
    Text "TEXT" Native,
    Time "TIME" Native,
    Timestamp "TIMESTAMP" Native,
    Timeuuid "TIMEUUID" Native,
    Tinyint "TINYINT" Native,
    To "TO" Reserved,
    Token "TOKEN" Reserved,
    Trigger "TRIGGER" Unreserved,
    Truncate "TRUNCATE" Reserved,
    Ttl "TTL" ColumnOnly,
    Tuple "TUPLE" Unreserved,
    Type "TYPE" Unreserved,
    Types "TYPES" Unreserved,
    Unlogged "UNLOGGED" Reserved,
    Unmask "UNMASK" Unreserved,
    Unset "UNSET" Unreserved,
    Update "UPDATE" Reserved,
    Use "USE" Reserved,
    User "USER" Unreserved,
    Users "USERS" Unreserved,
    Using "USING" Reserved,
    Uuid "UUID" Native,
    Values "VALUES" Unreserved,
    Varchar "VARCHAR" Native,
    Varint "VARINT" Native,
    Vector "VECTOR" Unreserved,
    View "VIEW" Reserved,
    Where "WHERE" Reserved,
    With "WITH" Reserved,
    Writetime "WRITETIME" ColumnOnly,
}

/// For each letter the index in `KEYWORDS` of the first keyword that starts with it or a later one.
const FIRST: [u8; 27] = {
    let mut first = [0u8; 27];
    let mut letter = 0;
    while letter < 27 {
        let mut index = 0;
        while index < KEYWORDS.len() && KEYWORDS[index].word().as_bytes()[0] < b'A' + letter as u8 {
            index += 1;
        }
        first[letter] = index as u8;
        letter += 1;
    }
    first
};

impl Keyword {
    /// The keyword that `word` is, in any case.
    pub fn of(word: &[u8]) -> Option<Keyword> {
        let letter = usize::from(word.first()?.to_ascii_uppercase().checked_sub(b'A')?);
        let (from, to) = (*FIRST.get(letter)?, *FIRST.get(letter + 1)?);
        let candidates = WORDS.get(usize::from(from)..usize::from(to))?;
        let fits = |known: &&str| known.len() == word.len() && known.as_bytes().eq_ignore_ascii_case(word);
        KEYWORDS.get(usize::from(from) + candidates.iter().position(fits)?).copied()
    }

    /// The type that the keyword names.
    pub fn native_type(self) -> Option<NativeType> {
        if self.class() != KeywordClass::Native {
            return None;
        }
        NativeType::ALL.into_iter().find(|native| native.name().eq_ignore_ascii_case(self.word()))
    }
}

/// Whether `word` must be quoted to be a name because it is a reserved keyword, in any case.
pub fn is_reserved(word: &str) -> bool {
    Keyword::of(word.as_bytes()).is_some_and(|keyword| keyword.class() == KeywordClass::Reserved)
}

#[cfg(test)]
mod tests {
    use super::{KEYWORDS, Keyword, KeywordClass, is_reserved};

    #[test]
    fn every_keyword_is_found_in_any_case() {
        assert!(KEYWORDS.is_sorted_by_key(|keyword| keyword.word()));
        assert!(KEYWORDS.len() < 256, "FIRST counts in a byte");
        for keyword in KEYWORDS {
            assert_eq!(Keyword::of(keyword.word().as_bytes()), Some(*keyword));
            assert_eq!(Keyword::of(keyword.word().to_ascii_lowercase().as_bytes()), Some(*keyword));
        }
    }

    #[test]
    fn words_that_are_no_keywords() {
        for word in ["", "_", "selec", "selects", "zebra", "x", "{", "@", "été", "1", "check"] {
            assert_eq!(Keyword::of(word.as_bytes()), None, "{word}");
        }
    }

    #[test]
    fn reserved_are_exactly_the_words_of_the_reference() {
        let reserved: Vec<&str> =
            KEYWORDS.iter().filter(|k| k.class() == KeywordClass::Reserved).map(|k| k.word()).collect();
        let reference = "ADD ALLOW ALTER AND APPLY ASC AUTHORIZE BATCH BEGIN BY COLUMNFAMILY CREATE DELETE DESC \
             DESCRIBE DROP ENTRIES EXECUTE FROM FULL GRANT IF IN INDEX INFINITY INSERT INTO IS KEYSPACE LIMIT \
             MATERIALIZED MODIFY NAN NORECURSIVE NOT NULL OF ON OR ORDER PRIMARY RENAME REVOKE SCHEMA SELECT SET \
             TABLE TO TOKEN TRUNCATE UNLOGGED UPDATE USE USING VIEW WHERE WITH";
        assert_eq!(reserved, reference.split_whitespace().collect::<Vec<_>>());
        assert!(is_reserved("select") && is_reserved("Table") && !is_reserved("ttl") && !is_reserved("int"));
    }

    #[test]
    fn native_keywords_have_their_type() {
        for keyword in KEYWORDS {
            assert_eq!(keyword.native_type().is_some(), keyword.class() == KeywordClass::Native);
        }
    }
}
