"""Data sets: what a CSV file in the wild is read as, and how a bad one is told."""

import pytest

from ssr_plugin.data.datasets import CSVDataSet, DataSet, Utterance, read_text


def read(folder, split="train", **options):
    return list(CSVDataSet(folder, **options).utterances(split))


@pytest.mark.parametrize(
    "header",
    ["ID,wav,spk_id,wrd", "id,path,speaker,sentence", "utt_id, Audio ,client_id,TEXT"],
)
def test_csv_data_sets_know_the_column_names_in_common_use(tmp_path, header):
    (tmp_path / "train.csv").write_text(f"{header}\na,x/a.flac,anna,good morning\n")
    wav = str(tmp_path / "x" / "a.flac")
    assert read(tmp_path) == [Utterance("a", wav, "good morning", "anna")]


def test_columns_of_other_names_can_be_named(tmp_path):
    (tmp_path / "train.csv").write_text("wav,text,Spoken\na.wav,$5,five dollars\n")
    assert read(tmp_path)[0].text == "$5"
    assert read(tmp_path, columns={"text": "Spoken"})[0].text == "five dollars"


def test_id_and_speaker_may_be_left_out(tmp_path):
    (tmp_path / "train.csv").write_text("wav,text\nclips/a.wav,yes\n")
    assert read(tmp_path)[0].id == "a"
    assert read(tmp_path)[0].speaker == "unknown"


def test_each_csv_file_is_a_split(tmp_path):
    for split in ("train", "dev"):
        (tmp_path / f"{split}.csv").write_text(f"wav,text\n{split}.wav,yes\n")
    assert CSVDataSet(tmp_path).splits() == ["dev", "train"]
    assert [utterance.id for utterance in read(tmp_path, "dev")] == ["dev"]


def test_a_split_column_beats_the_file_name(tmp_path):
    rows = "wav,text,split\na.wav,yes,train\nb.wav,no,test\nc.wav,well,\n"
    (tmp_path / "all.csv").write_text(rows)
    assert CSVDataSet(tmp_path).splits() == ["all", "test", "train"]
    assert [utterance.id for utterance in read(tmp_path, "test")] == ["b"]


def test_one_csv_file_is_a_data_set_too(tmp_path):
    (tmp_path / "mine.csv").write_text("wav,text\na.wav,yes\n")
    (tmp_path / "other.csv").write_text("nothing,to,see\n")
    dataset = CSVDataSet(tmp_path / "mine.csv")
    assert dataset.splits() == ["mine"]
    assert next(dataset.utterances("mine")).wav == str(tmp_path / "a.wav")


def test_quotes_commas_line_breaks_and_a_byte_order_mark_are_read(tmp_path):
    text = '\ufeffwav,text\r\na.wav,"He said ""no"",\r\nthen left"\r\n'
    (tmp_path / "train.csv").write_bytes(text.encode())
    assert read(tmp_path)[0].text == 'He said "no",\r\nthen left'


def test_a_short_row_has_no_transcript(tmp_path):
    (tmp_path / "train.csv").write_text("wav,text\na.wav\n")
    assert read(tmp_path)[0].text is None


def test_a_missing_column_names_the_file_and_what_to_do(tmp_path):
    (tmp_path / "train.csv").write_text("wav,words\na.wav,yes\n")
    message = r"train\.csv has no column for 'text' .*there are: wav, words.*columns="
    with pytest.raises(ValueError, match=message):
        CSVDataSet(tmp_path)
    with pytest.raises(ValueError, match="'text' .looked for: spoken;"):
        CSVDataSet(tmp_path, columns={"text": "spoken"})


def test_an_unknown_entry_of_columns_lists_the_known(tmp_path):
    (tmp_path / "train.csv").write_text("wav,text\n")
    with pytest.raises(ValueError, match="unknown txt; known: id, wav, text"):
        CSVDataSet(tmp_path, columns={"txt": "words"})


@pytest.mark.parametrize(
    "row", ["a.wav,yes, no", 'a.wav,"yes" no', 'a.wav,"never closed']
)
def test_a_malformed_row_names_file_and_line(tmp_path, row):
    (tmp_path / "train.csv").write_text(f"wav,text\nb.wav,well\n{row}\n")
    with pytest.raises(ValueError, match=r"train\.csv, line 3: "):
        CSVDataSet(tmp_path)


def test_a_folder_without_csv_and_a_missing_folder_give_different_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data_folder: no \*\.csv file in"):
        CSVDataSet(tmp_path)
    with pytest.raises(FileNotFoundError, match="data_folder: there is no '.*nowhere'"):
        CSVDataSet(tmp_path / "nowhere")


def test_text_of_another_encoding_names_the_file(tmp_path):
    (tmp_path / "a.txt").write_bytes("schön".encode("latin-1"))
    with pytest.raises(ValueError, match=r"a\.txt is not UTF-8 text"):
        read_text(tmp_path / "a.txt")


def test_a_subclass_has_one_method_to_write(tmp_path):
    class Mine(DataSet):
        def utterances(self, split):
            yield Utterance("a", "a.wav", "yes")

    for split in ("train", ".hidden"):
        (tmp_path / split).mkdir()
    assert Mine(tmp_path).splits() == ["train"]
