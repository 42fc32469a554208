-- Word for word and blank for blank what the Go tools make.
CREATE TABLE IF NOT EXISTS DigestUncompressedPairs(anyDigest			TEXT PRIMARY KEY NOT NULL,uncompressedDigest	TEXT NOT NULL
			);
CREATE INDEX IF NOT EXISTS DigestUncompressedPairs_index_uncompressedDigest ON DigestUncompressedPairs(uncompressedDigest);
CREATE TABLE IF NOT EXISTS DigestCompressors(digest		TEXT PRIMARY KEY NOT NULL,compressor	TEXT NOT NULL
			);
CREATE TABLE IF NOT EXISTS KnownLocations(
				transport	TEXT NOT NULL,
				scope 		TEXT NOT NULL,
				digest		TEXT NOT NULL,
				location	TEXT NOT NULL,time		TIMESTAMP NOT NULL,PRIMARY KEY (transport, scope, digest, location)
			);
CREATE TABLE IF NOT EXISTS DigestTOCUncompressedPairs(tocDigest			TEXT PRIMARY KEY NOT NULL,uncompressedDigest	TEXT NOT NULL
			);
CREATE TABLE IF NOT EXISTS DigestSpecificVariantCompressors(digest		TEXT PRIMARY KEY NOT NULL,specificVariantCompressor	TEXT NOT NULL,
				specificVariantAnnotations	BLOB NOT NULL
			);
